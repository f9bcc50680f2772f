"""The training configuration: every key that a run knows, with its default and its range."""

import ast
from collections.abc import Callable, Mapping
import functools
import json
from typing import Any

from ml_collections import config_dict

from flowzoo import zoo
from flowzoo.numerics.names import did_you_mean
from flowzoo.training.config_checks import CHECKS

FLAGS = ("conditional", "short", "smoke")


def default_config() -> config_dict.ConfigDict:
    """Returns a new, locked configuration with every key set to its default."""
    return config_dict.create(
        # Of the run, DATASET/ENTRY: its folder is runs/NAME.
        name="",
        # The model in words, for tables.
        title="",
        dataset=dict(
            # A name that `flowzoo.load_dataset` knows.
            name="",
            # Where prepared data lie; empty: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
            data_dir="",
            # Use only this many rows of each split, 0: all of them.
            limit=0,
            # What training does to each image at random: none, mirror (left to right) or dihedral
            # (the eight symmetries of the square); default: what is usual for the dataset.
            augmentation="default",
        ),
        # `name`, a recipe of `flowzoo.zoo`, and its options.
        model=dict(name=""),
        # Condition the model on the dataset's labels.
        conditional=False,
        # Share of the training labels that are left out, so that one network learns the density
        # with and without them; see `flowzoo.transforms.guided`.
        label_dropout=0.0,
        # Standard deviation of Gaussian noise on training batches, in model space: behind the logit
        # of images. All likelihoods that are reported are of data without it.
        noise_std=0.0,
        # If not 0: choose the width of `model.hidden_sizes` for about as many parameters. The saved
        # config has the width instead.
        num_parameters=0,
        # relative (fused rule), relative_optax, transposed or ordinary.
        gradient="relative",
        # What is minimised: likelihood, estimate (the likelihood with unbiased estimates of the
        # log-determinants of continuous and residual flows) or flow_matching (of continuous flows).
        # Evaluation is always by the exact likelihood.
        objective="likelihood",
        optimizer=dict(
            # adam, sgd, or one for the dense layers with Adam for everything else: relative_muon
            # or relative_adam, which work in multiplicative coordinates, or optax's muon.
            name="adam",
            learning_rate=1e-3,
            # Of the dense layers, None: the same. Of relative_muon it is the relative length of a
            # step, below 0.83; Adam moves all entries by about the rate, and a D × D matrix by up
            # to D times that. Both rates follow the schedule. Of W and b under relative_muon and
            # relative_adam, of W alone else.
            dense_learning_rate=config_dict.placeholder(float),
            momentum=0.9,  # of sgd, relative_muon and muon
            # Of relative_muon: bring only so many singular values to one and the others into
            # proportion, which costs little where D is large; None: all of them.
            rank=config_dict.placeholder(int),
            schedule="constant",  # constant or cosine (to zero at the last epoch)
            warmup_steps=0,
            clip_norm=config_dict.placeholder(float),  # of the gradient over all parameters
            # Limit of a step's relative change of a dense layer's W, ‖ΔW W⁻¹‖_F, below 1: W then
            # stays invertible whatever the learning rate. Each step factors each W for it.
            trust_region=config_dict.placeholder(float),
            l2=0.0,  # l2 · ½‖θ‖² is added to the loss, for the parameters named by decay_pattern
            weight_decay=0.0,  # decoupled from the gradient, as in AdamW
            # Regular expression searched for in parameter names; this one finds the weights of the
            # networks inside conditioners.
            decay_pattern="net/.*(weight|kernel)",
        ),
        # Evaluate an exponential moving average of the parameters with this decay; 0: the last.
        parameter_average=0.0,
        batch_size=100,  # over all devices
        # Devices that share each batch (0: as many as there are) times devices that share each
        # matrix, its gradient and its moments, for matrices that outgrow one device.
        mesh=dict(data=0, model=1),
        # Of the training step's matrix products, on hardware that has a choice: float32,
        # tensorfloat32 or bfloat16 (sums in float32). Evaluation is always in float32.
        matmul_precision="float32",
        # Memory against time. For its backward pass a step has the activations in a row of layers
        # kept, recomputed from each layer's input, or inverted from the last layer's output.
        activations="kept",
        # Start from the parameters of another run or model instead, with a schedule of its own: a
        # workdir, or what `flowzoo.load_pretrained` takes. Empty: at random, or from the data.
        start_from="",
        # 0: no steps, only what is fitted to the data before the first one.
        num_epochs=100,
        eval_every_epochs=1,
        patience=30,  # epochs without a better validation likelihood before the run stops
        seed=0,
        checkpoint_seconds=30.0,  # at least this long between two checkpoints
    ).lock()


class ArgumentError(ValueError):
    """The argument of a config file names what the file has not."""


def make_config(keys: Mapping[str, Any]) -> config_dict.ConfigDict:
    """A locked configuration: the default one, changed in some keys, its model's options complete.

    Args:
      keys: nested, as in `default_config`.

    Raises:
      ValueError: if a key is unknown or a value cannot be meant.
    """
    return _checked(_merged(default_config().to_dict(), keys))


def changed(config: config_dict.ConfigDict, **keys: Any) -> config_dict.ConfigDict:
    """A copy of a configuration with other values of some keys.

    A model that has a name takes the place of the config's, otherwise its options are changed.

    Raises:
      ValueError: if a key is unknown or a value cannot be meant.
    """
    return _checked(_merged(config.to_dict(), keys))


def overridden(
    config: config_dict.ConfigDict,
    values: Mapping[str, Any],
    parse: Callable[[Any, Any], Any] = lambda value, current: value,
) -> config_dict.ConfigDict:
    """A copy of a configuration with other values of some keys, one after the other.

    Another name in the model, or in a record of a map in it, also replaces the options beside it,
    by the defaults of that name.

    Args:
      config: what to change.
      values: by the full path of the key, `model.nonlinearity.alpha`.
      parse: makes the value of what was given and the current value.

    Raises:
      ValueError: if a key is unknown or a value cannot be meant.
    """
    tree = config.to_dict()
    for path, given in values.items():
        *parents, leaf = path.split(".")
        branch = tree
        for parent in parents:
            branch = branch.get(parent) if isinstance(branch, dict) else None
        if not isinstance(branch, dict) or leaf not in branch:
            raise ValueError(
                f"There is no config key {path!r}.{did_you_mean(path, flatten(tree))} "
                "`flowzoo/training/config.py` lists those outside of the model."
            )
        value = parse(given, branch[leaf])
        in_model = path.partition(".")[0] == "model"
        if in_model and leaf == "name" and value != branch[leaf]:
            branch.clear()
        branch[leaf] = value
        if in_model:
            tree["model"] = zoo.complete(tree["model"])
    return make_config(tree)


def parse_value(text: str | None, current: Any) -> Any:
    """The value that a text on the command line means for a key with this value.

    Python's notation of numbers, tuples and records; `true` and `false`; all else is text. None,
    an argument without a value, is true.
    """
    if text is None:
        return True
    if isinstance(current, str):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(current, list | tuple) and not isinstance(value, list | tuple):
        return (value,)
    return value


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _merged(tree: dict[str, Any], keys: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    tree = dict(tree)
    for key, value in keys.items():
        path = prefix + key
        if key not in tree:
            raise ValueError(
                f"There is no config key {path!r}.{did_you_mean(path, known_keys())} "
                "`flowzoo/training/config.py` lists them all."
            )
        if path == "model":
            value = {"name": value} if isinstance(value, str) else dict(value)
            tree[key] = value if "name" in value else tree[key] | value
        elif isinstance(tree[key], dict):
            if not isinstance(value, Mapping):
                raise ValueError(f"config.{path} is {value!r}, expected keys and their values.")
            tree[key] = _merged(tree[key], value, f"{path}.")
        else:
            tree[key] = value
    return tree


@functools.cache
def known_keys() -> tuple[str, ...]:
    """The full paths of all keys outside `model`."""
    return tuple(flatten(default_config().to_dict()))


def _checked(tree: dict[str, Any]) -> config_dict.ConfigDict:
    tree["model"] = zoo.complete(tree["model"])
    try:
        json.dumps(tree["model"])
    except TypeError as error:
        raise ValueError(
            f"config.model cannot be saved, {error}: in a config, maps are records, not functions."
        ) from None
    flat = flatten(tree)
    for key, check in CHECKS.items():
        if not check.fits(flat[key]):
            raise ValueError(f"config.{key} is {flat[key]!r}, expected {check.expected}.")
    config = default_config().unlock()
    config.model = config_dict.ConfigDict(tree.pop("model"))
    config.update(tree)
    return config.lock()


def smoke(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """The same run cut down to seconds: one epoch of 1,000 rows."""
    return changed(config, num_epochs=min(config.num_epochs, 1), dataset=dict(limit=1000))


def choose(
    argument: str | None, entries: Mapping[str, Mapping[str, Any]], *, name: str, **common: Any
) -> config_dict.ConfigDict:
    """Makes the config that `--config=file.py:argument` asks for.

    Args:
      argument: `entry,flag,…` in any order; None or empty: the first entry, no flags. The flags are
        `conditional` (on the labels), `short` (a baseline in minutes instead of the published
        protocol) and `smoke` (the same run cut down to seconds).
      entries: for each name the keys in which it differs from the default, the default entry first;
        also `short` and `smoke`, functions from its config to that of those runs. Without `short`
        it has no short run.
      name: what the names of the file's configs begin with, usually the dataset.
      **common: keys in which all of them differ.

    Raises:
      ArgumentError: if a word is neither an entry nor a flag, two entries are named, or the entry
        has no short run.
      ValueError: if a key or value of the config cannot be meant.
    """
    words = [word for word in (argument or "").split(",") if word]
    flags = [word for word in FLAGS if word in words]
    named = [word for word in words if word not in flags] or list(entries)[:1]
    for word in named:
        if word not in entries:
            raise ArgumentError(
                f"The config's argument names {word!r}, expected one of the entries "
                f"{', '.join(entries)}, or the flags {', '.join(FLAGS)}."
                + did_you_mean(word, [*entries, *FLAGS])
            )
    if len(named) > 1:
        raise ArgumentError(
            f"The config's argument names {' and '.join(named)}, expected one entry."
        )
    keys = dict(entries[named[0]])
    variants = {"short": keys.pop("short", None), "smoke": keys.pop("smoke", smoke)}
    identity = dict(name="-".join([f"{name}/{named[0]}", *flags]))
    if "conditional" in flags:
        identity["conditional"] = True
    config = make_config(_merged(_merged(default_config().to_dict(), common), keys) | identity)
    for flag in flags:
        if flag == "conditional":
            continue
        if variants[flag] is None:
            raise ArgumentError(
                f"The config's argument names the flag {flag}, which {named[0]} has not: its run "
                "is short as it is; leave the flag out."
            )
        config = variants[flag](config)
    return config


def check_batch(config: config_dict.ConfigDict, num_train: int, num_devices: int) -> None:
    """Raises ValueError unless the batch fits the training split and divides over the devices."""
    if config.batch_size > num_train:
        raise ValueError(
            f"config.batch_size is {config.batch_size}, but there are only {num_train} training "
            "examples; choose a batch no larger than that."
        )
    if config.batch_size % num_devices:
        raise ValueError(
            f"config.batch_size is {config.batch_size}, which does not divide over {num_devices} "
            f"devices; choose a multiple of {num_devices}."
        )
