"""The end of a run: test likelihood, `results.json` and pictures."""

import datetime
import functools
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

from etils import epath
import flax
import jax
from ml_collections import config_dict

import flowzoo
from flowzoo import bases
from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.reporting import plots
from flowzoo.reporting.published import PUBLISHED_MCC, comparison
from flowzoo.training.devices import is_main_process, usable_cores
from flowzoo.training.evaluation import evaluation_key, test_results
from flowzoo.training.loop import Spent, load_data, train
from flowzoo.training.metrics import add_picture, read_metrics
from flowzoo.training.workdir import RESULTS, write_json
from flowzoo.transforms import Whiten


def gaussian_reference(dataset: Dataset) -> float:
    """Test log-likelihood in nats of the full-covariance Gaussian fitted to the training split.

    Where training mirrors images, it is fitted to them and their mirror images.
    """
    x, _ = dataset.seen_in_training(evaluation_key("train"))
    gaussian = Whiten(x.shape[-1])
    gaussian.initialize(x)
    flow = Flow(bases.StandardNormal(dataset.event_shape), gaussian)
    return float(flow.log_prob(dataset.model_space("test", evaluation_key("test"))).mean())


def device_name() -> str:
    """The hardware, in words."""
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    if jax.default_backend() == "cpu":
        cores = usable_cores()
        return f"CPU ({platform.machine()}, {cores} core{'s' if cores != 1 else ''})"
    return f"{count} × {kind}"


def command() -> str | None:
    """The command line that this process was started with, None if it is no program of flowzoo.

    Where data and results lie on this machine is left out.
    """
    if "-m" not in sys.orig_argv[:-1]:
        return None
    # The interpreter's own options, such as -u, do not change what is computed.
    start = sys.orig_argv.index("-m")
    if not sys.orig_argv[start + 1].startswith("flowzoo."):
        return None
    local = ("workdir=", "config.dataset.data_dir=")
    arguments = [a for a in sys.orig_argv[start:] if not a.lstrip("-").startswith(local)]
    return shlex.join(["python", *arguments])


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that this flowzoo runs from, None if it is none.

    It is that of the first call, which a run makes before it trains: a checkout may move on.
    """
    folder = pathlib.Path(flowzoo.__file__).parent
    try:
        git = ["git", "ls-files", "--error-unmatch", "__init__.py"]
        subprocess.run(git, cwd=folder, check=True, capture_output=True)
        git = ["git", "rev-parse", "HEAD"]
        return subprocess.run(git, cwd=folder, check=True, capture_output=True, text=True).stdout[
            :-1
        ]
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> str:
    """Those of flowzoo, jax and flax."""
    return ", ".join(f"{m.__name__} {m.__version__}" for m in (flowzoo, jax, flax))


def identity(dataset: Dataset, config: config_dict.ConfigDict) -> dict[str, Any]:
    """What says which run this is, and what published figures stand beside it."""
    name, limit = config.name, config.dataset.limit
    notes = [dataset.note] if dataset.note else []
    if config.noise_std:
        notes.append(
            f"trained with Gaussian noise of standard deviation {config.noise_std:g} in model "
            "space, tested without"
        )
    return {
        "name": name,
        "title": config.title,
        "dataset": dataset.name,
        "data_note": "; ".join(notes) or None,
        "conditional": config.conditional,
        "limit": limit,
        "published": comparison(name, dataset.name, conditional=config.conditional, limit=limit),
    }


def _without_seed(results: dict[str, Any]) -> str:
    return results["dataset"].partition("-")[0]


def describe(results: dict[str, Any]) -> str:
    """The results in a few lines, the published ones beside them and labelled as such."""
    lines = [
        f"{results['dataset']}, {results['title']}: test log-likelihood "
        f"{results['log_likelihood_nats']:.3f} ± {results['two_standard_errors']:.3f} nats (2 s.e.)"
    ]
    if "bits_per_dim" in results:
        lines[0] += f", {results['bits_per_dim']:.3f} bits/dim"
    if "mcc" in results:
        lines.append(
            f"  mean correlation of its latents with the true sources: {results['mcc']:.4f}"
        )
        for model, mean, deviation, source in PUBLISHED_MCC.get(_without_seed(results), ()):
            lines.append(f"    published, {model}: {mean} ± {deviation} ({source})")
    if results["data_note"]:
        lines.append(f"  data: {results['data_note']}")
    if "gaussian_nats" in results:
        lines.append(f"  Gaussian fitted to the same split: {results['gaussian_nats']:.3f} nats")
    for row in results["published"]:
        error = row["two_standard_errors"]
        value = f"{row['nats']}" if error is None else f"{row['nats']} ± {error}"
        lines.append(f"  published, {row['model']}: {value} nats ({row['source']})")
    return "\n".join(lines)


def finish(
    flow: Flow,
    dataset: Dataset,
    config: config_dict.ConfigDict,
    workdir: epath.Path,
    *,
    epochs: int,
    best_epoch: int,
    spent: Spent,
) -> dict[str, Any]:
    """Tests the flow, writes `results.json`, `samples.png` and `curve.png`; returns the results.

    Every process takes part in the test; the first one writes.
    """
    results = {
        **identity(dataset, config),
        **test_results(flow, dataset),
        "num_events": len(dataset.test),
        "epochs": epochs,
        "best_epoch": best_epoch,
        "seed": config.seed,
        "wall_seconds": round(spent.seconds, 1),
        "processor_seconds": round(spent.processor_seconds, 1),
        "device": device_name(),
        "command": command(),
        "commit": commit(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }
    if len(dataset.train) > dataset.train.x[0].size:  # else its covariance is singular
        results["gaussian_nats"] = gaussian_reference(dataset)
    if is_main_process():
        # None, if someone deleted them.
        metrics = read_metrics(workdir)
        results["validation_nats"] = metrics[-1]["best_validation_nats"] if metrics else None
        plots.learning_curve(metrics, workdir / "curve.png")
        key = jax.random.key(config.seed)
        plots.samples(flow, dataset, key, workdir / "samples.png", config.noise_std)
        add_picture(workdir, "samples", int(metrics[-1]["step"]) if metrics else 0)
        write_json(workdir / RESULTS, results)
    return results


def train_and_evaluate(
    config: config_dict.ConfigDict, workdir: epath.PathLike, *, start: Flow | None = None
) -> dict:
    """Trains the config's model, goes on where an earlier run stopped, and tests the best.

    Args:
      config: see `flowzoo.training.config.default_config`.
      workdir: folder for the config, checkpoints, metrics, pictures and `results.json`.
      start: whose parameters a new run starts from, None for those of `config.start_from`, if that
        is set.

    Returns:
      What `results.json` holds.

    Raises:
      ValueError: if the config, the workdir or a checkpoint is not what it should be.
      FloatingPointError: if the likelihood becomes non-finite; the last good checkpoint is kept.
      OSError: if the workdir cannot be written.
    """
    commit()
    dataset = load_data(config)
    trained = train(config, dataset, workdir, start=start)
    return finish(
        trained.flow,
        dataset,
        config,
        epath.Path(workdir),
        epochs=trained.epochs,
        best_epoch=trained.best_epoch,
        spent=trained.spent,
    )
