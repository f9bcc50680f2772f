"""Which methods find the sources of a nonlinear mixture, and how deep may it be?

    python -m flowzoo.studies.nonlinear_ica [--layers=1,2,3,4,5] [--dims=2,5,10,20,50] [--seeds=3]

Normal sources whose mean and scale change with an observed variable u (40 segments of 1,000 rows,
as in iVAE and iFlow) pass through layers of a well-conditioned matrix and a leaky ReLU. Measured
are the mean correlation with the true sources and the log-likelihood, over data seeds from 1 on, of

- the fully connected unmixing flow with u in its base, and the same flow without u;
- fully connected flows of twice and of three times the layers of the mixing, with u in the base,
  at smaller rates;
- one triangular map, which is a MAF of one layer, MAF and Real NVP, with the same base;
- linear ICA: this package's, FastICA of scikit-learn, and picard where it is installed.

A flow without u may have independent latents and a good likelihood, and need not find the sources;
a triangular map cannot be the inverse of a mixing by whole matrices. MAF and Real NVP are stacks of
triangular maps with permutations, which are not triangular, so that this is a question to them.
A flow has several starts, of which the likeliest is kept; no seed is left out.
"""

import functools
import importlib.util
from types import SimpleNamespace
import warnings

from matplotlib.figure import Figure
import numpy as np

from flowzoo import ica, zoo
from flowzoo.bases import ConditionalFactorial
from flowzoo.context import Labels
from flowzoo.flow import Flow
from flowzoo.ica.nonlinear import SHAPES
from flowzoo.ica.starts import Stage, fit_starts
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.study import Option, Record, Study

METHODS = {
    "flow": "fully connected, u in the base",
    "deep": "fully connected, twice the layers, u in the base",
    "deeper": "fully connected, three times the layers, u in the base",
    "flow_without_u": "fully connected, without u",
    "triangular": "one triangular map, u in the base",
    "maf": "MAF (5), u in the base",
    "real_nvp": "Real NVP (10), u in the base",
    "linear": "linear ICA (fit_linear)",
    "fastica": "FastICA",
    "picard": "picard",
}
OPTIONS = {
    "layers": Option((1, 2, 3, 4, 5), "Layers of the mixing, at --dim sources.", (1,), least=1),
    "dims": Option((2, 5, 10, 20, 50), "Numbers of sources, at --depth layers.", (2,), least=2),
    "dim": Option(5, "Sources where the layers vary.", 2, least=2),
    "depth": Option(2, "Layers of the mixing where the sources vary.", 1, least=1),
    "seeds": Option(3, "Data sets of each kind.", 1, least=1),
    "methods": Option(tuple(METHODS), "What is measured.", ("flow", "linear"), choices=(*METHODS,)),
    "segments": Option(40, "Values of u.", 8, least=2),
    "rows": Option(1000, "Rows of each segment.", 100, least=2),
    "starts": Option(
        16, "Starts of a dense flow; of more layers a quarter, else an eighth.", 2, least=1
    ),
    "steps": Option(3000, "Steps of the best quarter of them, after a fifth as many of all.", 20),
    "seed": Option(0, "Of the starting values and the batches.", least=0),
}


def measure(settings: SimpleNamespace, record: Record) -> dict:
    kinds = [(layers, settings.dim) for layers in settings.layers]
    kinds += [(settings.depth, dim) for dim in settings.dims]
    methods = [m for m in settings.methods if m != "picard" or importlib.util.find_spec("picard")]
    sizes = dict(num_segments=settings.segments, per_segment=settings.rows)
    wanted = {}
    for layers, dim in dict.fromkeys(kinds):
        for data_seed in range(1, 1 + settings.seeds):
            for method in methods:
                key = dict(method=method, layers=layers, dim=dim, data_seed=data_seed, **sizes)
                if method in FLOWS:
                    key |= {name: getattr(settings, name) for name in ("starts", "steps", "seed")}
                fit = functools.partial(_measure, method, layers, dim, data_seed, settings)
                wanted[method, layers, dim, data_seed] = key, fit
    found = {}
    for (method, layers, dim, _), cell in record.cells(wanted).items():
        found.setdefault((method, layers, dim), []).append(cell)
    return {"settings": settings, "cells": found}


def _measure(method: str, layers: int, dim: int, data_seed: int, settings) -> dict:
    x, u, sources, _ = ica.generators.segments(
        data_seed,
        dim=dim,
        layers=layers,
        nonlinearity="leaky_relu",
        slope=0.2,
        num_segments=settings.segments,
        per_segment=settings.rows,
    )
    if method in FLOWS:
        fitted = FLOWS[method](x, u, layers, settings)
        latents, nats = fitted.sources(x), fitted.log_likelihoods[0]
    elif method == "linear":
        fitted = ica.fit_linear(x)
        latents, nats = fitted.sources(x), fitted.log_likelihoods[0]
    else:
        latents, nats = _LINEAR[method](x, settings.seed), None
    return {"mcc": ica.mcc(sources, latents), "nats": nats}


def _deep(x, u, layers, settings) -> ica.Unmixing:
    """With more layers than the mixing has, few starts end far from the best one."""
    starts, steps = max(1, settings.starts // 4), settings.steps
    return ica.fit(
        x,
        u,
        num_layers=2 * layers,
        between="learned_smooth_leaky_relu",
        model={"gain": 1.0},
        stages=((starts, steps), (1, 4 * steps)),
        batch_size=max(500, 12 * settings.segments),
        dense_learning_rate=0.01,
        learning_rate=0.02,
        momentum=0.95,
        seed=settings.seed,
    )


def _deeper(x, u, layers, settings) -> ica.Unmixing:
    """Its last stage has large batches, whose means and scales of each segment are better known."""
    starts, steps = max(1, settings.starts // 4), settings.steps
    size, rates = max(500, 12 * settings.segments), (0.01, 0.02)
    model = dict(name="unmixing", num_layers=3 * layers, between="learned_smooth_leaky_relu")
    context = Labels(settings.segments)

    def build(rngs):
        return zoo.build(model | {"gain": 1.0}, x.shape[1:], context=context, rngs=rngs)

    stages = (
        Stage(starts, steps, size, rates),
        Stage(1, 2 * steps, size, rates),
        Stage(1, steps, 5 * size, (0.003, 0.006)),
    )
    return fit_starts([build], x, u, stages=stages, momentum=0.95, seed=settings.seed)


def _fit(builds, x, u, settings, rates) -> ica.Unmixing:
    some = max(1, settings.starts // 4)
    size = max(1000, 25 * settings.segments)
    stages = (
        Stage(settings.starts, max(1, settings.steps // 5), size, rates),
        Stage(some, settings.steps, size, rates),
    )
    return fit_starts(builds, x, u, stages=stages, seed=settings.seed)


def _unmixing(x, u, layers, settings) -> ica.Unmixing:
    context = None if u is None else Labels(settings.segments)

    def builder(record):
        model = {"name": "unmixing", "num_layers": layers, "between": record}
        return lambda rngs: zoo.build(model, x.shape[1:], context=context, rngs=rngs)

    return _fit([builder(record) for record in SHAPES], x, u, settings, (0.05, 1e-2))


def _triangular(model: dict, x, u, layers, settings) -> ica.Unmixing:
    del layers  # Theirs are the same for every mixing.
    settings = SimpleNamespace(**vars(settings) | {"starts": max(1, settings.starts // 8)})
    context = Labels(settings.segments)

    def build(rngs):
        flow = zoo.build(model | {"standardize": True}, x.shape[1:], rngs=rngs)
        base = ConditionalFactorial(flow.base.event_shape, context=context, profile=True)
        return Flow(base, flow.transform, context)

    return _fit([build], x, u, settings, (1e-3, 1e-3))


_NETWORK = dict(hidden_sizes=(64, 64), batch_norm=False)
FLOWS = {
    "flow": _unmixing,
    "deep": _deep,
    "deeper": _deeper,
    "flow_without_u": lambda x, u, *rest: _unmixing(x, None, *rest),
    "triangular": functools.partial(_triangular, dict(name="maf", num_layers=1, **_NETWORK)),
    "maf": functools.partial(_triangular, dict(name="maf", num_layers=5, **_NETWORK)),
    "real_nvp": functools.partial(_triangular, dict(name="real_nvp", num_layers=10, **_NETWORK)),
}


def _fastica(x: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.decomposition import FastICA

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That it has not converged, which the MCC shows.
        return FastICA(whiten="unit-variance", random_state=seed).fit_transform(x)


def _picard(x: np.ndarray, seed: int) -> np.ndarray:
    from picard import picard

    return picard(x.T, ortho=False, random_state=seed)[2].T


_LINEAR = {"fastica": _fastica, "picard": _picard}


def table(found: dict) -> str:
    settings, cells = found["settings"], found["cells"]
    kinds = list(dict.fromkeys((layers, dim) for _, layers, dim in cells))
    columns = [f"L = {layers}, D = {dim}" for layers, dim in kinds]

    def rows(value, digits):
        for method, words in METHODS.items():
            row = [cells.get((method, *kind)) for kind in kinds]
            if any(row):
                yield [words, *(_mean(cell, value, digits) for cell in row)]

    seeds = f"seeds 1 to {settings.seeds}" if settings.seeds > 1 else "seed 1"
    head = (
        f"Mean ± standard deviation over data {seeds}: "
        f"{settings.segments} segments of {settings.rows:,} rows"
    )
    return "\n\n".join(
        [
            head,
            "Mean correlation with the true sources:",
            tables.markdown(["", *columns], list(rows("mcc", 3))),
            "Mean log-likelihood in nats, of the data that were trained on:",
            tables.markdown(["", *columns], list(rows("nats", 2))),
        ]
    )


def _mean(cell: list[dict] | None, value: str, digits: int) -> str:
    values = [one[value] for one in cell or [] if one[value] is not None]
    if not values:
        return ""
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def draw(found: dict) -> Figure:
    settings, cells = found["settings"], found["cells"]
    figure = Figure(figsize=(11, 4.5))
    panels = figure.subplots(1, 2, sharey=True)
    cuts = (
        ("layers of the mixing", settings.layers, lambda v: (v, settings.dim)),
        ("sources D", settings.dims, lambda v: (settings.depth, v)),
    )
    for axes, (label, values, kind) in zip(panels, cuts, strict=True):
        for i, (method, words) in enumerate(METHODS.items()):
            points = [cells.get((method, *kind(v))) for v in values]
            if not any(points):
                continue
            scores = [[one["mcc"] for one in cell] for cell in points if cell]
            at = [v for v, cell in zip(values, points, strict=True) if cell]
            axes.plot(at, [np.mean(s) for s in scores], "o-", color=f"C{i}", label=words)
            axes.fill_between(
                at,
                *zip(*((min(s), max(s)) for s in scores), strict=True),
                color=f"C{i}",
                alpha=0.15,
            )
        axes.set(xlabel=label, ylim=(0, 1.03))
        axes.set_xticks(values, map(str, values))
    panels[0].set(ylabel="mean correlation", title=f"{settings.dim} sources")
    panels[1].set(title=f"{settings.depth} layers", xscale="log")
    panels[1].minorticks_off()
    panels[1].set_xticks(settings.dims, map(str, settings.dims))
    panels[0].legend(fontsize=8)
    return figure


STUDY = Study("nonlinear_ica", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
