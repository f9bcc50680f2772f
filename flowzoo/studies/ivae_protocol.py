"""How well are the sources found on the data sets of iVAE and iFlow, one for each of 100 seeds?

    python -m flowzoo.studies.ivae_protocol [--methods=learned,told] [--first=1] [--seeds=100]

The published protocol: five normal sources whose mean and scale change between 40 segments of 1,000
rows, and a mixing by three layers with `tanh(x) + 0.1 x` between them. `flowzoo.ica.fit` does not
see the sources. Of its starts the one with the best likelihood counts, and no seed is left out.
With `learned` the flow has to find the nonlinearity, too; with `told` it knows it.

A seed takes about 15 seconds of one CPU core with each of the two.
"""

import functools
import time
from types import SimpleNamespace

from matplotlib.figure import Figure
import numpy as np

from flowzoo import ica
from flowzoo.ica.estimators import SHAPES
from flowzoo.reporting import tables
from flowzoo.reporting.published import PUBLISHED_MCC
from flowzoo.studies import study
from flowzoo.studies.study import Option, Record, Study

# Each: its name in words, the maps of the flow, and for each stage the part of all starts and of
# the last stage's steps.
METHODS = {
    "learned": ("learned maps", SHAPES, ((1, 0.2), (1 / 4, 1 / 3), (1 / 16, 1))),
    "told": (
        "told the nonlinearity",
        {"name": "inverse_tanh_mix"},
        ((1 / 4, 1 / 6), (1 / 16, 1 / 2)),
    ),
}
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
    x, u, sources = ica.generators.segments(data_seed, same_matrix=True, **sizes)[:3]
    _, between, parts = METHODS[method]
    stages = [
        (max(1, int(settings.starts * starts)), max(1, int(settings.steps * steps)))
        for starts, steps in parts
    ]
    began = time.process_time()
    fitted = ica.fit(x, u, between=between, stages=stages, seed=settings.seed)
    return {
        "mcc": ica.mcc(sources, fitted.sources(x)),
        "nats": fitted.log_likelihoods[0],
        "nats_of_starts": fitted.log_likelihoods,
        "core_seconds": time.process_time() - began,
    }


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
    for i, (name, mean, deviation, _) in enumerate(PUBLISHED_MCC["ica/iflow"], 2):
        axes.axhline(mean, color=f"C{i}", label=f"{name}, published")
        axes.axhspan(mean - deviation, mean + deviation, color=f"C{i}", alpha=0.15)
    axes.set(xlabel="part of the data sets", ylabel="mean correlation", ylim=(0.4, 1.01))
    axes.legend(loc="lower right")
    return figure


STUDY = Study("ivae_protocol", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
