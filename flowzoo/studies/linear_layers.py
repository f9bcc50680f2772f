"""One flow with nine linear layers in turn: likelihood against wall time, and sampling error.

    python -m flowzoo.studies.linear_layers [--data=digits,bsds300,mnist] [--layers=dense,plu,svd]

The flow whitens its data and has a few times a linear layer and, in each coordinate, a
rational-quadratic spline within ±6; only the kind of the linear layer differs:

  none            the coordinates are reversed
  dense           any invertible matrix, by the relative gradient
  plu             Glow's triangular factors
  qr, svd         products of orthogonal matrices and triangular or diagonal ones
  householder     a product of reflections, orthogonal
  cayley, exponential, newton_schulz   other parameterisations of orthogonal matrices

Each starts at the identity; on the first of the data sets it starts, on request, at a random
rotation or reflection too. All are trained alike, by Adam at each of two rates, which a cosine
takes to zero. Rate and step are chosen by the validation likelihood, at ten steps evenly spaced.
Measured are test nats, parameters, the milliseconds of a step without its compilation, and the
greatest `|f⁻¹(f(x)) − x|` over test rows in single precision, in units of a coordinate's standard
deviation.
"""

import functools
from types import SimpleNamespace
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib import ticker
from matplotlib.figure import Figure
from ml_collections import config_dict
import numpy as np

from flowzoo.bases.factorial import StandardNormal
from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.curves import curve
from flowzoo.studies.study import Option, Record, Study
from flowzoo.training.config import default_config
from flowzoo.training.evaluation import evaluation_key, test_results
from flowzoo.training.loop import load_data
from flowzoo.transforms import Chain, RationalQuadraticSpline, Whiten
from flowzoo.zoo.neural_spline import LINEAR


class Task(NamedTuple):
    """A flow on a dataset.

    Attributes:
      title: in words.
      num_layers, num_bins: of the flow.
      batch_size, epochs, rates: of the runs.
    """

    title: str
    num_layers: int
    num_bins: int
    batch_size: int
    epochs: int
    rates: tuple[float, ...]


TASKS = {
    "digits": Task("Digits, D = 64, four layers", 4, 16, 100, 50, (3e-3, 1e-2)),
    "bsds300": Task("BSDS300, D = 63, six layers", 6, 16, 500, 1, (1e-3, 3e-3)),
    "mnist": Task("MNIST, D = 784, two layers", 2, 8, 250, 2, (1e-3, 3e-3)),
}
LAYERS = {"none": LINEAR["reverse"], "dense": LINEAR["dense"]}
LAYERS |= {name: layer for name, layer in LINEAR.items() if name != "reverse"}
STARTS = ("identity", "orthogonal")
OPTIONS = {
    "data": Option(("digits",), "Data sets.", choices=tuple(TASKS)),
    "layers": Option(tuple(LAYERS), "Linear layers.", ("dense",), choices=tuple(LAYERS)),
    "starts": Option(
        STARTS, "Starting values, after the first for the first data.", STARTS[:1], choices=STARTS
    ),
    "epochs": Option(0, "Of every run; 0: as many as the data's own.", 1, least=0),
    "data_dir": Option("", "Where MNIST and BSDS300 are; empty: as for training."),
    "seed": Option(0, "Of the starting values and the batches.", least=0),
}
POINTS = 10
# Test rows that are mapped there and back.
ROWS = 1000


class Kind(NamedTuple):
    """A data set, a linear layer and its starting value."""

    data: str
    layer: str
    start: str


def flow_of(kind: Kind, dim: int, seed: int) -> Flow:
    """The flow with one kind of linear layer."""
    rngs, task = nnx.Rngs(seed), TASKS[kind.data]
    layers = [Whiten(dim)]
    for _ in range(task.num_layers):
        layers.append(LAYERS[kind.layer](dim, init=kind.start, rngs=rngs))
        layers.append(RationalQuadraticSpline((dim,), num_bins=task.num_bins, bound=6.0))
    return Flow(StandardNormal((dim,)), Chain(layers))


def measured(kind: Kind, rate: float, epochs: int, seed: int, data_dir: str) -> dict[str, Any]:
    """One kind of layer, trained at one rate."""
    task = TASKS[kind.data]
    config = config_dict.ConfigDict(default_config().to_dict())
    config.name, config.model.name = f"linear_layers/{kind.data}", kind.layer
    config.dataset.update(name=kind.data, data_dir=data_dir)
    config.optimizer.update(learning_rate=rate, schedule="cosine")
    config.update(batch_size=task.batch_size, num_epochs=epochs, patience=epochs + 1, seed=seed)
    dataset = load_data(config)
    flow = flow_of(kind, *dataset.event_shape, seed)
    tested = functools.partial(_tested, dataset)
    return curve(config, dataset, flow=flow, points=POINTS, of_best=tested)


def _tested(dataset: Dataset, flow: Flow) -> dict[str, Any]:
    """The results on the test split, and the error of samples."""
    x = jnp.asarray(dataset.model_space("test", evaluation_key("test"))[:ROWS])
    whiten, *rest = flow.transform.transforms
    white, rest = whiten.forward(x), Chain(rest)
    error = jax.jit(lambda t, x: jnp.abs(t.inverse(t.forward(x)) - x).max())
    return test_results(flow, dataset) | {"error": float(error(rest, white))}


class Found(NamedTuple):
    """The best rate and its cell for each kind."""

    settings: SimpleNamespace
    best: dict[Kind, tuple[float, dict]]


def measure(settings: SimpleNamespace, record: Record) -> Found:
    kinds = [
        Kind(data, layer, start)
        for data in settings.data
        for start in (settings.starts if data == settings.data[0] else settings.starts[:1])
        for layer in settings.layers
        if layer != "none" or start == settings.starts[0]
    ]
    wanted = {}
    for kind in kinds:
        epochs = settings.epochs or TASKS[kind.data].epochs
        for rate in TASKS[kind.data].rates:
            key = kind._asdict() | {"rate": rate, "epochs": epochs, "seed": settings.seed}
            call = functools.partial(measured, kind, rate, epochs, settings.seed, settings.data_dir)
            wanted[kind, rate] = key, call
    cells = record.cells(wanted)

    def validated(kind: Kind, rate: float) -> float:
        best = cells[kind, rate]["best"]
        return -np.inf if best is None else best

    best = {}
    for kind in kinds:
        rate = max(TASKS[kind.data].rates, key=functools.partial(validated, kind))
        best[kind] = rate, cells[kind, rate]
    return Found(settings, best)


def table(found: Found) -> str:
    header = ["linear layer", "start", "test nats", "parameters", "rate", "a step"]
    header += ["error of samples"]
    parts = []
    for data in found.settings.data:
        of_data = [(kind, best) for kind, best in found.best.items() if kind.data == data]
        rows = []
        for kind, (rate, cell) in sorted(
            of_data, key=lambda item: -item[1][1].get("log_likelihood_nats", -np.inf)
        ):
            if cell["best"] is None:
                rows.append([kind.layer, kind.start, "diverged", *4 * [None]])
                continue
            milliseconds = 1e3 * cell["seconds"][-1] / max(1, cell["steps"])
            nats = tables.plus_minus(cell["log_likelihood_nats"], cell["two_standard_errors"])
            row = [kind.layer, None if kind.layer == "none" else kind.start, nats]
            row += [f"{cell['num_parameters']:,}", f"{rate:g}", f"{milliseconds:.2f} ms"]
            rows.append([*row, f"{cell['error']:.1e}"])
        parts.append(f"{TASKS[data].title}\n\n{tables.markdown(header, rows)}")
    return "\n\n".join(parts)


def draw(found: Found) -> Figure:
    """Validation nats against the seconds of training, dotted from the second start."""
    count = len(found.settings.data)
    figure = Figure(figsize=(4.5 * count, 4), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes, data in zip(panels, found.settings.data, strict=True):
        for kind, (_, cell) in found.best.items():
            if kind.data != data:
                continue
            first = kind.start == found.settings.starts[0]
            style = dict(
                color=f"C{list(LAYERS).index(kind.layer)}", linestyle="-" if first else ":"
            )
            points = cell["seconds"][1:], cell["validation"][1:]
            axes.plot(*points, marker=".", label=kind.layer if first else None, **style)
        axes.set(xlabel="seconds of training steps", ylabel="validation nats")
        axes.set(xscale="log", title=TASKS[data].title)
        axes.xaxis.set(
            major_locator=ticker.LogLocator(subs=(1, 2, 5)),
            major_formatter=ticker.StrMethodFormatter("{x:g}"),
            minor_formatter=ticker.NullFormatter(),
        )
        axes.legend(fontsize=7)
    return figure


STUDY = Study("linear_layers", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
