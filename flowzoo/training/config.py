"""The training configuration: every key that a run knows, with its default."""

from collections.abc import Mapping
from typing import Any

from ml_collections import config_dict

FLAGS = ("conditional", "short", "smoke")
GRADIENTS = {
    "relative": "relative",
    "transposed": "transposed",
    "ordinary": "ordinary",
    "relative_optax": "data_terms",
}


def default_config() -> config_dict.ConfigDict:
    """Returns a new configuration with every key set to its default."""
    return config_dict.create(
        dataset=dict(
            # A name that `flowzoo.load_dataset` knows.
            name="",
            # Where prepared data lie; empty: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
            data_dir="",
            # Use only this many rows of each split, 0: all of them.
            limit=0,
        ),
        # `name`, a recipe of `flowzoo.zoo`, and its options.
        model=dict(name=""),
        # Condition the model on the dataset's labels.
        conditional=False,
        # If not 0: choose the width of `model.hidden_sizes` for about as many parameters.
        num_parameters=0,
        # relative (fused rule), relative_optax, transposed or ordinary.
        gradient="relative",
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
        num_epochs=100,
        eval_every_epochs=1,
        patience=30,  # epochs without a better validation likelihood before the run stops
        seed=0,
        checkpoint_seconds=30.0,  # at least this long between two checkpoints
    )


def choose(
    argument: str | None, models: Mapping[str, Mapping[str, Any]], **common: Any
) -> config_dict.ConfigDict:
    """Makes the config that `--config=file.py:argument` asks for.

    Args:
      argument: `model,flag,…` in any order; None or empty: the first model, no flags. The flags are
        `conditional` (on the labels), `short` (a baseline in minutes instead of the published
        protocol) and `smoke` (the same run cut down to seconds).
      models: for each name the keys in which it differs from the default, the default model first.
        Under `short`, if it has that flag, those in which its short run differs, and under `smoke`
        those in which its smoke run does, beyond one epoch of 1,000 rows.
      **common: keys in which all of them differ.

    Raises:
      ValueError: if a word is neither a model nor a flag, two models are named, or the model has no
        short run.
    """
    words = [word for word in (argument or "").split(",") if word]
    flags = {word for word in words if word in FLAGS}
    named = [word for word in words if word not in flags] or list(models)[:1]
    for word in named:
        if word not in models:
            raise ValueError(
                f"The config's argument names {word!r}, expected one of the models "
                f"{', '.join(models)}, or the flags {', '.join(FLAGS)}."
            )
    if len(named) > 1:
        raise ValueError(f"The config's argument names {' and '.join(named)}, expected one model.")
    config = default_config()
    own = dict(models[named[0]])
    short, smoke = own.pop("short", None), own.pop("smoke", {})
    for keys in (dict(common), own):
        if "model" in keys:
            config.model = config_dict.ConfigDict(keys.pop("model"))
        config.update(keys)
    config.conditional = "conditional" in flags
    if "short" in flags:
        if short is None:
            raise ValueError(
                f"The config's argument names the flag short, which {named[0]} has not: its run "
                "is short as it is; leave the flag out."
            )
        config.update(short)
    if "smoke" in flags:
        config.update(num_epochs=1, dataset=dict(limit=1000))
        config.update(smoke)
    return config


def check_config(config: config_dict.ConfigDict, num_train: int, num_devices: int) -> None:
    """Raises ValueError, in a sentence, if a number of the configuration cannot be meant."""
    if config.gradient not in GRADIENTS:
        raise ValueError(
            f"config.gradient is {config.gradient!r}, expected one of {', '.join(GRADIENTS)}."
        )
    if config.batch_size < 1:
        raise ValueError(f"config.batch_size is {config.batch_size}, expected at least 1.")
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
    for key in ("num_epochs", "eval_every_epochs", "patience"):
        if config[key] < 1:
            raise ValueError(f"config.{key} is {config[key]}, expected at least 1.")
    if not 0 <= config.parameter_average < 1:
        raise ValueError(
            f"config.parameter_average is {config.parameter_average}, expected a decay in [0, 1)."
        )
