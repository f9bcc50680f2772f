"""Learning curves: the likelihood of a run now and then, and the seconds of its steps.

The seconds are those of the processor where JAX computes on one, so that they are about the same
whatever runs beside, and those of the clock on an accelerator.
"""

from collections.abc import Callable
import time
from typing import Any

import jax
from ml_collections import config_dict
import numpy as np

from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.numerics.separation import mcc
from flowzoo.training.evaluation import latents
from flowzoo.training.loop import NonFinite, Run
from flowzoo.training.state import merge


def curve(
    config: config_dict.ConfigDict,
    dataset: Dataset,
    *,
    flow: Flow | None = None,
    constant: float = 0.0,
    points: int = 30,
    of_best: Callable[[Flow], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Trains and evaluates; nothing is saved.

    Args:
      config: of the run; it ends after `num_epochs`, or where it diverges.
      dataset: what to train on.
      flow: what to train in place of the config's model.
      constant: added to all likelihoods.
      points: at about so many steps, evenly spaced, the likelihood is evaluated; at ends of epochs
        where there are as many epochs.
      of_best: what else is measured, of the flow with the best validation likelihood.

    Returns:
      `epochs`, `seconds` (of the steps alone: neither compilation nor evaluation), `train` and
      `validation` nats, lists of equal length that begin before the first step; `best`, the
      highest validation likelihood, None if the run diverged at once; `steps`, of the last; and
      what `of_best` returned. Of a mixture also `mcc`, a list as the others: the mean correlation
      of the validation latents with the true sources.
    """
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    run = Run(config, dataset, flow=flow)
    state = run.start()
    run.compile_steps(state)
    evaluated = _stops(config.num_epochs, run.steps_per_epoch, points)
    ends = range(0, run.num_steps + 1, run.steps_per_epoch)
    seconds, steps, order, order_epoch = 0.0, 0, None, -1
    found = {"epochs": [], "seconds": [], "train": [], "validation": []}
    sources = dataset.validation.sources
    if sources is not None:
        found["mcc"] = []
    for stop in sorted(evaluated.union(ends)):
        if stop > 0:
            epoch = int(state.step) // run.steps_per_epoch
            if epoch != order_epoch:
                order, order_epoch = run.shuffle(state.key, epoch), epoch
            began = clock()
            state, report = jax.block_until_ready(
                run.run_steps(state, run.x, run.labels, order, np.int32(stop))
            )
            seconds += clock() - began
            if int(report.failed_step) >= 0 or not np.isfinite(report.parameter_norm):
                break
        if stop in evaluated:
            try:
                state, record = run.evaluate(state)
            except NonFinite:
                break
            whole, within = divmod(stop, run.steps_per_epoch)
            values = {
                "epochs": stop / run.steps_per_epoch if within else whole,
                "seconds": seconds,
                "train": record["train_nats"] + constant,
                "validation": record["validation_nats"] + constant,
            }
            if sources is not None:
                z = latents(merge(run.graph, state.variables), *run.unseen)
                values["mcc"] = mcc(sources, z)
            for name, value in values.items():
                found[name].append(value)
            steps = stop
    best = max(found["validation"], default=None)
    further = {} if of_best is None or best is None else of_best(run.best_flow(state))
    return found | {"best": best, "steps": steps} | further


def _stops(num_epochs: int, steps_per_epoch: int, points: int) -> set[int]:
    """The steps before which a run of so many epochs is evaluated."""
    if num_epochs >= points:
        epochs = range(0, num_epochs + 1, num_epochs // points)
        return {epoch * steps_per_epoch for epoch in (*epochs, num_epochs)}
    return {int(step) for step in np.linspace(0, num_epochs * steps_per_epoch, points + 1)}
