"""The end of a run: test likelihood, `results.json` and pictures."""

import os
import platform
import shlex
import sys
from typing import Any

from etils import epath
import jax
from ml_collections import config_dict

from flowzoo import bases
from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.reporting import plots
from flowzoo.reporting.published import published, published_model
from flowzoo.training.devices import is_main_process
from flowzoo.training.evaluation import evaluation_key, test_results
from flowzoo.training.loop import load_data, train
from flowzoo.training.metrics import add_picture, read_metrics
from flowzoo.training.workdir import RESULTS, write_json
from flowzoo.transforms import Whiten


def gaussian_reference(dataset: Dataset) -> float:
    """Test log-likelihood in nats of the full-covariance Gaussian fitted to the training split."""
    x = dataset.model_space("train", evaluation_key("train"))
    gaussian = Whiten(x.shape[-1])
    gaussian.initialize(x)
    flow = Flow(bases.StandardNormal(dataset.event_shape), gaussian)
    return float(flow.log_prob(dataset.model_space("test", evaluation_key("test"))).mean())


def device_name() -> str:
    """The hardware, in words."""
    kind, count = jax.devices()[0].device_kind, jax.device_count()
    if jax.default_backend() == "cpu":
        return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    return f"{count} × {kind}"


def command() -> str | None:
    """The command line that this process was started with, None if it is no program of flowzoo.

    Where data and results lie on this machine is left out.
    """
    if not any(argument.startswith("flowzoo.") for argument in sys.orig_argv[1:3]):
        return None
    local = ("workdir=", "config.dataset.data_dir=")
    arguments = [a for a in sys.orig_argv[1:] if not a.lstrip("-").startswith(local)]
    return shlex.join(["python", *arguments])


def describe(results: dict[str, Any]) -> str:
    """The results in a few lines, the published ones beside them and labelled as such."""
    lines = [
        f"{results['dataset']}, {results['model']}: test log-likelihood "
        f"{results['log_likelihood_nats']:.3f} ± {results['two_standard_errors']:.3f} nats (2 s.e.)"
    ]
    if "bits_per_dim" in results:
        lines[0] += f", {results['bits_per_dim']:.3f} bits/dim"
    if "gaussian_nats" in results:
        lines.append(f"  Gaussian fitted to the same split: {results['gaussian_nats']:.3f} nats")
    for row in results.get("published", []):
        lines.append(
            f"  published, {row['model']}: {row['nats']} ± {row['two_standard_errors']} nats "
            f"({row['source']})"
        )
    return "\n".join(lines)


def comparison(dataset: Dataset, config) -> list[dict[str, Any]]:
    """The published rows to print: this model's own, and the best of the table.

    None for a run on a part of the data, whose likelihood does not compare with them.
    """
    if config.dataset.limit:
        return []
    rows = published(dataset.name, config.conditional)
    name = published_model(config.model)
    own = [row for row in rows if row.model == name]
    best = max(rows, key=lambda row: row.nats, default=None)
    return [row._asdict() for row in own + [best] * (best is not None and best not in own)]


def finish(
    flow: Flow,
    dataset: Dataset,
    config,
    workdir: epath.Path,
    *,
    epochs: int,
    best_epoch: int,
    wall_seconds: float,
) -> dict[str, Any]:
    """Tests the flow, writes `results.json`, `samples.png` and `curve.png`; returns the results.

    Every process takes part in the test; the first one writes.
    """
    results = {
        "dataset": dataset.name,
        "model": config.model.name,
        "conditional": config.conditional,
        **test_results(flow, dataset),
        "epochs": epochs,
        "best_epoch": best_epoch,
        "wall_seconds": round(wall_seconds, 1),
        "command": command(),
        "device": device_name(),
        "published": comparison(dataset, config),
    }
    if len(dataset.train) > dataset.train.x[0].size:  # else its covariance is singular
        results["gaussian_nats"] = gaussian_reference(dataset)
    if is_main_process():
        metrics = read_metrics(workdir)
        results["validation_nats"] = metrics[-1]["best_validation_nats"]
        plots.learning_curve(metrics, workdir / "curve.png")
        plots.samples(flow, dataset, jax.random.key(config.seed), workdir / "samples.png")
        add_picture(workdir, "samples", metrics[-1]["step"])
        write_json(workdir / RESULTS, results)
    return results


def train_and_evaluate(config: config_dict.ConfigDict, workdir: epath.PathLike) -> dict:
    """Trains the config's model, goes on where an earlier run stopped, and tests the best.

    Args:
      config: see `flowzoo.training.config.default_config`.
      workdir: folder for the config, checkpoints, metrics, pictures and `results.json`.

    Returns:
      What `results.json` holds.

    Raises:
      ValueError: if the config, the workdir or a checkpoint is not what it should be.
      FloatingPointError: if the likelihood becomes non-finite; the last good checkpoint is kept.
      OSError: if the workdir cannot be written.
    """
    dataset = load_data(config)
    trained = train(config, dataset, workdir)
    return finish(
        trained.flow,
        dataset,
        config,
        epath.Path(workdir),
        epochs=trained.epochs,
        best_epoch=trained.best_epoch,
        wall_seconds=trained.wall_seconds,
    )
