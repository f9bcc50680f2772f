"""One flow with nine linear layers in turn: likelihood against wall time, and sampling error.

    python -m flowzoo.studies.linear_layers [--layers=dense,plu,qr,svd]

The data are scikit-learn's digits, 64 numbers each, whitened by their training part. The flow has
four times a linear layer and, in each coordinate, a rational-quadratic spline of 16 bins within ±6;
only the kind of the linear layer differs:

  none            the coordinates are reversed
  dense           any invertible matrix, by the relative gradient
  plu             Glow's triangular factors
  qr, svd         products of orthogonal matrices and triangular or diagonal ones
  householder     a product of reflections, orthogonal
  cayley, exponential, newton_schulz   other parameterisations of orthogonal matrices

Each starts at the identity, and again at a random rotation or reflection, where it can.

All are trained alike: Adam, batches of 100, a rate of 3e-3 that a cosine takes to zero, or of the
rates that are given the best. Rate and step are chosen by the validation likelihood, at a tenth of
the steps, two tenths and so on. Measured are test nats, parameters, the milliseconds of a step
without its compilation and with other work beside it, and the greatest `|f⁻¹(f(x)) − x|` over the
test digits in single precision, in whitened coordinates.
"""

import functools
import time
from types import SimpleNamespace

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax

from flowzoo.bases.factorial import StandardNormal
from flowzoo.data import load_dataset
from flowzoo.flow import Flow
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.study import Option, Record, Study
from flowzoo.training.evaluation import evaluation_key
from flowzoo.transforms import Chain, RationalQuadraticSpline, Whiten, with_modes
from flowzoo.zoo.neural_spline import LINEAR
from flowzoo.zoo.parameters import num_parameters

NUM_LAYERS, BATCH = 4, 100
LAYERS = {"none": LINEAR["reverse"], "dense": LINEAR["dense"]}
LAYERS |= {name: layer for name, layer in LINEAR.items() if name != "reverse"}
STARTS = ("identity", "orthogonal")
OPTIONS = {
    "layers": Option(tuple(LAYERS), "Linear layers.", ("dense",), choices=tuple(LAYERS)),
    "starts": Option(STARTS, "Starting values of the layers.", ("identity",), choices=STARTS),
    "rates": Option((3e-3,), "Learning rates.", least=1e-6),
    "steps": Option(600, "Steps of training, in ten parts.", 10, least=10),
    "seed": Option(0, "Of the starting values and the batches.", least=0),
}


def digits() -> dict[str, np.ndarray]:
    """The three splits, whitened: `[N, 64]` each."""
    dataset = load_dataset("digits")
    names = ("train", "validation", "test")
    x = {name: np.asarray(dataset.model_space(name, evaluation_key(name))) for name in names}
    whiten = Whiten(x["train"].shape[1])
    whiten.initialize(jnp.asarray(x["train"]))
    return {name: np.asarray(whiten.forward(rows)) for name, rows in x.items()} | {
        # What the whitening adds to a log-density of the digits.
        "log_det": np.asarray(whiten.forward_and_log_det(x["test"][:1])[1])
    }


def flow_with(name: str, init: str, dim: int, seed: int) -> Flow:
    """The flow with one kind of linear layer."""
    rngs = nnx.Rngs(seed)
    pairs = [
        [
            LAYERS[name](dim, init=init, rngs=rngs),
            RationalQuadraticSpline((dim,), num_bins=16, bound=6.0),
        ]
        for _ in range(NUM_LAYERS)
    ]
    return Flow(StandardNormal((dim,)), Chain(sum(pairs, [])))


def measured(name: str, init: str, rate: float, steps: int, seed: int) -> dict:
    """One kind of layer, trained from one start at one rate."""
    x = digits()
    train = jnp.asarray(x["train"])
    flow = with_modes(flow_with(name, init, train.shape[1], seed), gradient_rule="relative")
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def loss(parameters, rows):
        return -nnx.merge(graph, parameters, rest).log_prob(rows).mean()

    def step(carry, key):
        parameters, state = carry
        rows = train[jax.random.randint(key, (BATCH,), 0, len(train))]
        updates, state = optimizer.update(jax.grad(loss)(parameters, rows), state, parameters)
        return (optax.apply_updates(parameters, updates), state), None

    parts = jax.random.split(jax.random.key(seed), (10, steps // 10))
    carry = parameters, optimizer.init(parameters)
    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys)[0])
    run = run.lower(carry, parts[0]).compile()
    nats = jax.jit(lambda parameters, rows: -loss(parameters, rows))
    curve, seconds, best = [], 0.0, None
    for keys in parts:
        start = time.perf_counter()
        carry = jax.block_until_ready(run(carry, keys))
        seconds += time.perf_counter() - start
        curve.append([seconds, float(nats(carry[0], x["validation"]) + x["log_det"][0])])
        if best is None or curve[-1][1] > best[0]:
            best = curve[-1][1], jax.tree.map(jnp.copy, carry[0])
    parameters = best[1]
    flow = nnx.merge(graph, parameters, rest)
    error = jax.jit(lambda t, x: jnp.abs(t.inverse(t.forward(x)) - x).max())
    return {
        "nats": float(nats(parameters, x["test"]) + x["log_det"][0]),
        "curve": curve,
        "milliseconds": 1e3 * seconds / steps,
        "error": float(error(flow.transform, x["test"])),
        "parameters": num_parameters(flow),
    }


def measure(settings: SimpleNamespace, record: Record) -> dict:
    common = {"steps": settings.steps, "seed": settings.seed}
    kinds = [
        (name, start)
        for start in settings.starts
        for name in settings.layers
        if name != "none" or start == settings.starts[0]
    ]
    cells = record.cells(
        {
            (*kind, rate): (
                {"layer": kind[0], "start": kind[1], "rate": rate} | common,
                functools.partial(measured, *kind, rate, settings.steps, settings.seed),
            )
            for kind in kinds
            for rate in settings.rates
        }
    )
    best = {}
    for kind in kinds:
        # Chosen by validation; where a run has diverged there is no number.
        ends = {
            rate: max(-np.inf if nats is None else nats for _, nats in cells[*kind, rate]["curve"])
            for rate in settings.rates
        }
        rate = max(ends, key=ends.get)
        best[kind] = (rate, cells[*kind, rate])
    return {"settings": settings, "best": best}


def table(found: dict) -> str:
    header = ["linear layer", "start", "test nats", "parameters", "rate", "a step"]
    header += ["error of samples"]
    rows = []
    ordered = sorted(found["best"].items(), key=lambda item: -(item[1][1]["nats"] or -np.inf))
    for (name, start), (rate, cell) in ordered:
        row = [name, None if name == "none" else start, f"{cell['nats']:.2f}"]
        row += [f"{cell['parameters']:,}", f"{rate:g}", f"{cell['milliseconds']:.2f} ms"]
        rows.append([*row, f"{cell['error']:.1e}"])
    return tables.markdown(header, rows)


def draw(found: dict) -> Figure:
    """Validation nats against the seconds of training, dotted from the second start."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for (name, start), (_, cell) in found["best"].items():
        style = dict(color=f"C{list(LAYERS).index(name)}", linestyle="-:"[STARTS.index(start)])
        label = name if start == found["settings"].starts[0] else None
        axes.plot(*np.array(cell["curve"], float).T, marker=".", label=label, **style)
    axes.set(xlabel="seconds of training, without compilation", ylabel="validation nats")
    axes.set(xscale="log")
    axes.legend(fontsize=7)
    return figure


STUDY = Study("linear_layers", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
