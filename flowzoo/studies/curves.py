"""Learning curves: the likelihood of a run after each epoch, and the seconds of its steps."""

import time
from typing import Any

import jax
from ml_collections import config_dict
import numpy as np

from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.training.loop import NonFinite, Run


def curve(
    config: config_dict.ConfigDict,
    dataset: Dataset,
    *,
    flow: Flow | None = None,
    constant: float = 0.0,
    points: int = 30,
) -> dict[str, Any]:
    """Trains and evaluates; nothing is saved.

    Args:
      config: of the run; it ends after `num_epochs`, or where it diverges.
      dataset: what to train on.
      flow: what to train in place of the config's model.
      constant: added to all likelihoods.
      points: at about so many epochs, evenly spaced, the likelihood is evaluated.

    Returns:
      `epochs`, `seconds` (of the steps alone: neither compilation nor evaluation), `train` and
      `validation` nats, lists of equal length that begin before the first step; `best`, the
      highest validation likelihood, None if the run diverged at once; and `steps`, of the last.
    """
    run = Run(config, dataset, flow=flow)
    state = run.start()
    run.compile_steps(state)
    every = max(1, config.num_epochs // points)
    seconds, found = 0.0, {"epochs": [], "seconds": [], "train": [], "validation": []}
    for epoch in range(config.num_epochs + 1):
        if epoch > 0:
            order = run.shuffle(state.key, epoch - 1)
            began = time.perf_counter()
            stop = np.int32(epoch * run.steps_per_epoch)
            state, report = jax.block_until_ready(
                run.run_steps(state, run.x, run.labels, order, stop)
            )
            seconds += time.perf_counter() - began
            if int(report.failed_step) >= 0 or not np.isfinite(report.parameter_norm):
                break
        if epoch % every == 0 or epoch == config.num_epochs:
            try:
                state, record = run.evaluate(state)
            except NonFinite:
                break
            nats = record["train_nats"] + constant, record["validation_nats"] + constant
            for name, value in zip(found, (epoch, seconds, *nats), strict=True):
                found[name].append(value)
    steps = found["epochs"][-1] * run.steps_per_epoch if found["epochs"] else 0
    return found | {"best": max(found["validation"], default=None), "steps": steps}
