"""How well are the sources found on the data sets of iVAE and iFlow, one for each of 100 seeds?

    python -m flowzoo.studies.ivae_protocol [--methods=learned,told,placed] [--first=1]
        [--seeds=100]

The published protocol: five normal sources whose mean and scale change between 40 segments of 1,000
rows, and a mixing by three layers with `tanh(x) + 0.1 x` between them. `flowzoo.ica.fit` does not
see the sources. Of its starts the one with the best likelihood counts, and no seed is left out.
With `learned` the flow has to find the nonlinearity, too; with `told` it knows it.

`placed` is no estimator: it is the learned maps' flow at the true matrices, its maps put as near to
the true inverse as they come. What `learned` falls short of it is the optimizer's fault; what it
falls short of `told` is at most that of the maps.

A seed takes about 15 seconds of one CPU core with each of the first two.
"""

import functools
import time
from types import SimpleNamespace

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from flowzoo import ica, zoo
from flowzoo.context import Labels
from flowzoo.flow import Flow
from flowzoo.ica.nonlinear import SHAPES
from flowzoo.ica.unmixing import Unmixing
from flowzoo.numerics.smooth import inverse_positive
from flowzoo.reporting import tables
from flowzoo.reporting.published import PUBLISHED_MCC
from flowzoo.studies import study
from flowzoo.studies.study import Option, Record, Study
from flowzoo.transforms import Dense

# Each: its name in words, the maps of the flow, and for each stage the part of all starts and of
# the last stage's steps.
METHODS = {
    "learned": ("learned maps", SHAPES, ((1, 0.2), (1 / 4, 1 / 3), (1 / 16, 1))),
    "told": (
        "told the nonlinearity",
        {"name": "inverse_tanh_mix"},
        ((1 / 4, 1 / 6), (1 / 16, 1 / 2)),
    ),
    "placed": ("learned maps, placed at the truth", None, ()),
}
SLOPE = 0.1
# Of the placed splines. The dense layers can scale what enters a map, so that this is no choice
# that the learned maps do not have; near 2 their 12 bins are the nearest to the inverse.
BOUND = 2.0
QUANTITIES = ("mcc", "nats", "core_seconds")
OPTIONS = {
    "methods": Option(tuple(METHODS), "Which flows.", choices=(*METHODS,)),
    "first": Option(1, "The first seed of the data.", least=0),
    "seeds": Option(100, "How many seeds of the data, from the first on.", 2, least=1),
    "segments": Option(40, "Values of u.", 8, least=2),
    "rows": Option(1000, "Rows of each segment.", 100, least=2),
    "starts": Option(
        32, "Starts of the first stage, of which a sixteenth goes to the end.", 4, least=1
    ),
    "steps": Option(3000, "Steps of the last stage.", 30, least=1),
    "seed": Option(0, "Of the starting values and the batches.", least=0),
}


def measure(settings: SimpleNamespace, record: Record) -> dict:
    wanted = {}
    for method in settings.methods:
        for data_seed in range(settings.first, settings.first + settings.seeds):
            shared = ("segments", "rows", "starts", "steps", "seed")
            key = dict(method=method, data_seed=data_seed)
            key |= {name: getattr(settings, name) for name in shared}
            fit = functools.partial(_measure, method, data_seed, settings)
            wanted[method, data_seed] = key, fit
    found = {}
    for (method, _), cell in record.cells(wanted).items():
        found.setdefault(method, []).append(cell)
    return {"settings": settings, "cells": found}


def _measure(method: str, data_seed: int, settings: SimpleNamespace) -> dict:
    sizes = dict(num_segments=settings.segments, per_segment=settings.rows)
    generate = functools.partial(
        ica.generators.segments, data_seed, same_matrix=True, slope=SLOPE, **sizes
    )
    x, u, sources = generate()[:3]
    _, between, parts = METHODS[method]
    stages = [
        (max(1, int(settings.starts * starts)), max(1, int(settings.steps * steps)))
        for starts, steps in parts
    ]
    began = time.process_time()
    if method == "placed":
        # The mixing of one layer has the matrix that this one has in each.
        one = generate(layers=1)
        matrix = np.linalg.lstsq(one.sources.astype(np.float64), one.x, rcond=None)[0]
        fitted = _placed(matrix, x, u)
    else:
        fitted = ica.fit(x, u, between=between, stages=stages, seed=settings.seed)
    return {
        "mcc": ica.mcc(sources, fitted.sources(x)),
        "nats": fitted.log_likelihoods[0],
        "nats_of_starts": fitted.log_likelihoods,
        "core_seconds": time.process_time() - began,
    }


def _placed(matrix: np.ndarray, x: np.ndarray, u: np.ndarray) -> Unmixing:
    """The flow of three inverse matrices with splines near the inverse of `tanh(x) + 0.1 x`."""
    began = time.monotonic()
    model = {
        "name": "unmixing",
        "num_layers": 3,
        "between": {"name": "slope_spline", "bound": BOUND},
        "whiten": False,
    }
    flow = zoo.build(model, x.shape[1:], context=Labels(int(u.max()) + 1), rngs=nnx.Rngs(0))
    for layer in flow.transform.transforms:
        if isinstance(layer, Dense):
            layer.weight[...] = jnp.asarray(np.linalg.inv(matrix).T, jnp.float32)
        else:
            slopes = _nearest_slopes(layer.slopes.shape[-1])
            raw = inverse_positive(slopes)
            layer.slopes[...] = jnp.tile(jnp.asarray(raw, jnp.float32), (x.shape[1], 1))
    flow.update_statistics(jnp.asarray(x), jnp.asarray(u))
    nats = float(_mean_log_prob(flow, jnp.asarray(x), jnp.asarray(u)))
    return Unmixing(flow, np.array([nats]), time.monotonic() - began)


@jax.jit
def _mean_log_prob(flow: Flow, x: jax.Array, u: jax.Array) -> jax.Array:
    return flow.log_prob(x, u).mean()


def _nearest_slopes(num_knots: int) -> np.ndarray:
    """Slopes at the knots whose line comes, relatively, the nearest to the slope of the inverse."""
    inputs = np.linspace(-10 * (BOUND + 1), 10 * (BOUND + 1), 200_001)
    outputs = np.tanh(inputs) + SLOPE * inputs
    grid = np.linspace(-BOUND, BOUND, 400)
    slope = 1 / (1 / np.cosh(np.interp(grid, outputs, inputs)) ** 2 + SLOPE)
    knots = np.linspace(-BOUND, BOUND, num_knots)
    hats = np.stack([np.interp(grid, knots, row) for row in np.eye(num_knots)], axis=1)
    return np.linalg.lstsq(hats / slope[:, None], np.ones(len(grid)), rcond=None)[0]


def table(found: dict) -> str:
    rows = []
    for method, cells in found["cells"].items():
        mcc, nats, seconds = ([cell[name] for cell in cells] for name in QUANTITIES)
        rows.append(
            [
                f"flowzoo, {METHODS[method][0]}",
                _spread(mcc, 3),
                f"{min(mcc):.3f}",
                f"{np.median(mcc):.4f}",
                _spread(nats, 2),
                f"{np.median(seconds):.0f}",
                len(cells),
            ]
        )
    for name, mean, deviation, _ in PUBLISHED_MCC["ica/iflow"]:
        rows.append([f"{name}, published", f"{mean:.3f} ± {deviation:.3f}", "", "", "", "", 100])
    head = ["", "mean correlation", "least", "median", "nats", "core seconds, median", "seeds"]
    return tables.markdown(head, rows)


def _spread(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def draw(found: dict) -> Figure:
    figure = Figure(figsize=(7, 4.5))
    axes = figure.subplots()
    for i, (method, cells) in enumerate(found["cells"].items()):
        mcc = sorted(cell["mcc"] for cell in cells)
        rank = np.linspace(0, 1, len(mcc)) if len(mcc) > 1 else [0.5]
        axes.plot(rank, mcc, ".-", color=f"C{i}", label=METHODS[method][0])
    for i, (name, mean, deviation, _) in enumerate(PUBLISHED_MCC["ica/iflow"], len(METHODS)):
        axes.axhline(mean, color=f"C{i}", label=f"{name}, published")
        axes.axhspan(mean - deviation, mean + deviation, color=f"C{i}", alpha=0.15)
    axes.set(xlabel="part of the data sets", ylabel="mean correlation", ylim=(0.4, 1.01))
    axes.legend(loc="lower right")
    return figure


STUDY = Study("ivae_protocol", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
