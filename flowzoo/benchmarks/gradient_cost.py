"""Time and memory of one training step against D, the experiment of the paper's figures 1, 3 and 4.

    python -m flowzoo.benchmarks.gradient_cost [--dims=256,784,2048] [--batch_sizes=100,10]
        [--num_layers=2] [--methods=fused,ordinary] [--repeats=7] [--max_gib=4] [--max_seconds=20]
        [--out=DIR]

The flow is `z = W_L σ(… σ(W_1 x + b_1) …) + b_L` with smooth leaky ReLU and a standard normal base.
A step is what training does: the gradient, without the value of the loss, and an Adam update in
place. Many steps run in one dispatch, as they do in training. The methods differ in the Jacobian
term:

    backprop  none at all, the loss is |z|²/2: the floor that the others are compared to
    fused     the relative gradient, fused into backpropagation (`flowzoo.relative.fused`)
    optax     the relative gradient as an optax transformation
    inverse   the ordinary gradient, −W^{-T} by an explicit inverse
    ordinary  the ordinary gradient, by autodiff of `slogdet(W)`
    jacobian  the ordinary gradient, by autodiff of `slogdet` of each event's D × D Jacobian

Methods run in turn within one process and on the same arrays, so that neither the machine's other
work nor the place of an array in memory favours one. Times are medians with quartiles, and a ratio
to the floor is the median of the ratios within each round. Peak memory is what the compiled program
says it needs: arguments, results and temporaries. Slopes are fitted to log time against log D where
D >= 256; below, the time is mostly not spent on the D × D matrices.

A method is left out, and the table says so, where its memory would exceed `--max_gib`, or where one
step would take over half of `--max_seconds` if its time grew from the size before as D² (D³ for the
last three methods). A method that has used up `--max_seconds` at a size joins no more rounds.

Two layers, batch 100, two otherwise idle CPU cores (AMD EPYC), jax 0.10.2; time over the floor's:

    D      floor    fused  optax  inverse  ordinary  jacobian    peak memory, fused over floor
     256   0.96 ms  1.03    2.1     6.2      4.9      357        1.04
     784    7.1 ms  0.98    4.7     6.2      6.1                 0.96
    2048     52 ms  1.10   11.9    12.8     16.0                 0.91
    4096    198 ms  1.09   19.6    16.3     18.3                 0.89

Time grows as D^1.97 from 256 to 4096 (the floor's: 1.93). At batch 10 the fused step takes 0.85,
0.99, 1.14 and 1.10 times the floor's time, the ordinary one 8.9, 20.8, 41.0 and 40.5 times.

Six products of B × D by D × D stand against the floor's five, with the same Adam. At large D the
fused step gains from a copy of one W that XLA's CPU backend puts into the floor's program only.

Source: Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient optimization of the
Jacobian term in unsupervised deep learning", arXiv 2006.15090. The floor is flowzoo's addition.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import json
import math
from pathlib import Path
from typing import NamedTuple

from absl import flags
from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax

from flowzoo import command_line
from flowzoo.benchmarks import timing
from flowzoo.flow import Flow
from flowzoo.relative import scale_by_relative_gradient
from flowzoo.reporting import plots
from flowzoo.training.devices import usable_cores
from flowzoo.training.state import merge, split
from flowzoo.training.step import Batch, make_loss
from flowzoo.transforms.linear.dense import dense_weights
from flowzoo.zoo.fully_connected import fully_connected

FLOOR = "backprop"
METHODS = (FLOOR, "fused", "optax", "inverse", "ordinary", "jacobian")
CUBIC = ("inverse", "ordinary", "jacobian")
SLOPE_FROM = 256
# So small that all methods go on seeing the same weights.
LEARNING_RATE = 1e-9
# A measurement is one dispatch, long enough for the start of the program and the first touch of its
# temporary memory not to count.
MIN_SECONDS = 0.5


class Cost(NamedTuple):
    """What one training step by one method costs.

    Attributes:
      seconds: `[rounds]`, empty if it was not measured.
      peak_bytes: arguments, results and temporaries of the compiled program, None if it was not
        compiled.
      left_out: why it was not measured, "" if it was.
    """

    method: str
    batch_size: int
    dim: int
    seconds: np.ndarray
    peak_bytes: int | None
    left_out: str = ""


def make_method(method: str, flow: Flow) -> tuple[Callable, optax.GradientTransformation]:
    """Returns `loss(params, other variables, batch) -> (nats, base term)` and what its gradient
    passes through before Adam.

    Raises:
      ValueError: if the method is unknown.
    """
    graph, _ = split(flow)

    def without_jacobian(params, variables, batch: Batch):
        z = merge(graph, variables._replace(params=params)).transform.forward(batch.x)
        loss = jnp.mean(jnp.sum(0.5 * z**2, axis=-1))
        return loss, loss

    def with_full_jacobian(params, variables, batch: Batch):
        flow = merge(graph, variables._replace(params=params))
        jacobian = jax.vmap(jax.jacfwd(flow.transform.forward))(batch.x)
        base = flow.base.log_prob(flow.transform.forward(batch.x))
        return -jnp.mean(base + jnp.linalg.slogdet(jacobian)[1]), base.mean()

    def add_inverse(gradients, params):
        def add(g, w):
            return g - jnp.linalg.inv(w).T if w.ndim == 2 else g

        return jax.tree.map(add, gradients, params)

    match method:
        case "backprop":
            return without_jacobian, optax.identity()
        case "fused":
            return make_loss(flow, "relative"), optax.identity()
        case "optax":
            weights = dense_weights(flow)
            relative = scale_by_relative_gradient(weights, layout="out_in", add_log_det=1.0)
            return make_loss(flow, "data_terms"), relative
        case "inverse":
            return make_loss(flow, "data_terms"), optax.stateless(add_inverse)
        case "ordinary":
            return make_loss(flow, "ordinary"), optax.identity()
        case "jacobian":
            return with_full_jacobian, optax.identity()
    raise ValueError(f"The method is {method!r}, expected one of {', '.join(METHODS)}.")


class Steps:
    """Training steps of one flow, by any method, on one set of arrays.

    Attributes:
      state: the parameters and Adam's state, which every run overwrites; None before the first.
    """

    def __init__(self, dim: int, batch_size: int, num_layers: int):
        # Near the identity: orthogonal matrices would take longer to draw than the measurement.
        self._build = functools.partial(
            fully_connected, (dim,), num_layers=num_layers, init="identity"
        )
        self._flow = nnx.eval_shape(lambda: self._build(rngs=nnx.Rngs(0)))
        self._adam = optax.adam(LEARNING_RATE)
        self._x = jax.random.normal(jax.random.key(1), (batch_size, dim))
        self.state = None

    def _start(self):
        params = split(self._build(rngs=nnx.Rngs(0)))[1].params
        return params, self._adam.init(params)

    def compile(self, method: str) -> jax.stages.Compiled:
        """Compiles `program(state, x, count) -> state`, which takes `count` steps by a method."""
        loss, transformation = make_method(method, self._flow)
        variables = split(self._flow)[1]

        def step(state, x):
            params, adam_state = state
            gradients, _ = jax.grad(loss, has_aux=True)(params, variables, Batch(x, None))
            stateless = transformation.init(params)
            gradients, _ = transformation.update(gradients, stateless, params)
            updates, adam_state = self._adam.update(gradients, adam_state, params)
            return optax.apply_updates(params, updates), adam_state

        def program(state, x, count):
            return jax.lax.fori_loop(0, count, lambda _, state: step(state, x), state)

        # Without arrays, so that a step that does not fit can be told by its program.
        state = jax.eval_shape(self._start)
        return jax.jit(program, donate_argnums=0).lower(state, self._x, 1).compile()

    def run(self, program: jax.stages.Compiled, count: int) -> None:
        """Takes `count` steps and waits for the last."""
        state, self.state = self.state or self._start(), None
        self.state = jax.block_until_ready(program(state, self._x, count))


def measure(
    dims: Sequence[int],
    batch_sizes: Sequence[int],
    methods: Sequence[str] = METHODS,
    *,
    num_layers: int = 2,
    repeats: int = 7,
    max_gib: float = 4.0,
    max_seconds: float = 20.0,
) -> Iterator[list[Cost]]:
    """Yields the costs of all methods, the floor's first, for one batch size and D at a time."""
    methods = [FLOOR, *(method for method in methods if method != FLOOR)]
    for batch_size in batch_sizes:
        known: dict[str, tuple[int, float]] = {}
        for dim in sorted(dims):
            steps = Steps(dim, batch_size, num_layers)
            programs, peak, left_out = {}, {}, {}
            for method in methods:
                if FLOOR in left_out:
                    left_out[method] = "not even the floor fits"
                    continue
                before, seconds = known.get(method, (dim, 0.0))
                expected = seconds * (dim / before) ** (3 if method in CUBIC else 2)
                if expected > max_seconds / 2:
                    left_out[method] = f"about {expected:.0f} s for a step"
                    continue
                compiled = steps.compile(method)
                peak[method] = _peak_bytes(compiled)
                if peak[method] > max_gib * 2**30:
                    left_out[method] = f"needs {peak[method] / 2**30:.1f} GiB"
                    continue
                program = functools.partial(steps.run, compiled)
                try:
                    program(1)
                except jax.errors.JaxRuntimeError as error:
                    left_out[method] = str(error).splitlines()[0]
                    continue
                programs[method] = program
            seconds = timing.interleaved(
                programs, repeats=repeats, min_seconds=MIN_SECONDS, max_seconds=max_seconds
            )
            known |= {method: (dim, float(np.median(s))) for method, s in seconds.items()}
            yield [
                Cost(
                    method,
                    batch_size,
                    dim,
                    seconds.get(method, np.empty(0)),
                    peak.get(method),
                    left_out.get(method, ""),
                )
                for method in methods
            ]


def _peak_bytes(compiled: jax.stages.Compiled) -> int:
    memory = compiled.memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


def slope(dims: Sequence[int], values: Sequence[float]) -> float:
    """Exponent p of the fit `values ∝ dims^p` where `dims >= SLOPE_FROM`, NaN below two points."""
    points = [(d, v) for d, v in zip(dims, values, strict=True) if d >= SLOPE_FROM]
    if len(points) < 2:
        return math.nan
    return float(np.polyfit(*np.log(points).T, 1)[0])


def record(cost: Cost, floor: Cost) -> dict:
    """A row of the table, for JSON: times in seconds, `[median, lower, upper quartile]`."""
    row = {"method": cost.method, "batch_size": cost.batch_size, "dim": cost.dim}
    if cost.left_out:
        row["left_out"] = cost.left_out
    else:
        row["seconds"] = timing.quartiles(cost.seconds)
        row["ratio"] = timing.ratio(cost.seconds, floor.seconds)
        row["rounds"] = len(cost.seconds)
    if cost.peak_bytes is not None:
        row["peak_bytes"] = cost.peak_bytes
        row["peak_ratio"] = cost.peak_bytes / floor.peak_bytes
    return row


HEADER = (
    f"{'batch':>6} {'D':>6} {'method':>9} {'ms per step':>12} {'quartiles':>21}"
    f" {'to floor':>9} {'quartiles':>15} {'peak MiB':>9} {'to floor':>9}"
)


def line(row: dict) -> str:
    """A row of the table as text."""
    text = f"{row['batch_size']:6} {row['dim']:6} {row['method']:>9}"
    if "left_out" in row:
        return f"{text}  left out: {row['left_out']}"
    (median, lower, upper), (ratio, low, high) = row["seconds"], row["ratio"]
    return (
        f"{text} {1e3 * median:12.3f} {1e3 * lower:10.3f}–{1e3 * upper:<10.3f}"
        f" {ratio:9.2f} {low:7.2f}–{high:<7.2f} {row['peak_bytes'] / 2**20:9.1f}"
        f" {row['peak_ratio']:9.2f}"
    )


def curves(rows: Sequence[dict], batch_size: int) -> dict[str, tuple[list[int], list[dict]]]:
    """method -> sizes and rows at which it was measured with a batch size."""
    found = {}
    for row in rows:
        if row["batch_size"] == batch_size and "left_out" not in row:
            dims, measured = found.setdefault(row["method"], ([], []))
            dims.append(row["dim"])
            measured.append(row)
    return found


def draw(rows: Sequence[dict], title: str, path: Path) -> None:
    """Draws time and memory against D into a PNG file, a row of panels for each batch size."""
    batch_sizes = list(dict.fromkeys(row["batch_size"] for row in rows))
    figure = Figure(figsize=(10, 4 * len(batch_sizes)))
    panels = figure.subplots(len(batch_sizes), 2, squeeze=False)
    for batch_size, (time_axes, memory_axes) in zip(batch_sizes, panels, strict=True):
        for method, (dims, measured) in curves(rows, batch_size).items():
            style = dict(color=f"C{METHODS.index(method)}", marker="o", markersize=3, linewidth=1)
            median, lower, upper = np.array([row["seconds"] for row in measured]).T
            peak = [row["peak_bytes"] / 2**20 for row in measured]
            for axes, values in (time_axes, 1e3 * median), (memory_axes, peak):
                exponent = slope(dims, values)
                label = method if math.isnan(exponent) else f"{method}, slope {exponent:.2f}"
                axes.plot(dims, values, label=label, **style)
            time_axes.fill_between(
                dims, 1e3 * lower, 1e3 * upper, color=style["color"], alpha=0.2, linewidth=0
            )
        for axes, what in (time_axes, "ms per training step"), (memory_axes, "peak memory (MiB)"):
            axes.set(xscale="log", yscale="log", xlabel="D", ylabel=what)
            sizes = sorted({row["dim"] for row in rows})
            axes.set_xticks(sizes, labels=sizes)
            axes.set_xticks([], minor=True)
            axes.set_title(f"{title}, batch {batch_size}", fontsize=9)
            axes.legend(fontsize=7)
    figure.tight_layout()
    plots.save(figure, path)


def main(
    dims: Sequence[int],
    batch_sizes: Sequence[int],
    methods: Sequence[str],
    folder: Path,
    *,
    num_layers: int,
    **options,
) -> None:
    """Measures, prints the table and writes `gradient_cost.json` and `.png` into `folder`."""
    unknown = set(methods) - set(METHODS)
    if unknown:
        raise ValueError(
            f"--methods names {', '.join(sorted(unknown))}, expected some of {', '.join(METHODS)}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    device = jax.devices()[0].device_kind
    if device == "cpu":
        device = f"{usable_cores()} CPU cores"
    print(f"{num_layers} layers, float32, {device}, jax {jax.__version__}")
    print(HEADER)
    rows = []
    for costs in measure(dims, batch_sizes, methods, num_layers=num_layers, **options):
        for cost in costs:
            rows.append(record(cost, costs[0]))
            print(line(rows[-1]), flush=True)
    for batch_size in batch_sizes:
        slopes = {
            method: slope(sizes, [row["seconds"][0] for row in measured])
            for method, (sizes, measured) in curves(rows, batch_size).items()
        }
        text = ", ".join(f"{name} {p:.2f}" for name, p in slopes.items() if not math.isnan(p))
        if text:
            print(f"Slope of log time in log D, D >= {SLOPE_FROM}, batch {batch_size}: {text}")
    report = {"num_layers": num_layers, "device": device, "jax": jax.__version__, "rows": rows}
    (folder / "gradient_cost.json").write_text(json.dumps(report, indent=1))
    draw(rows, f"{num_layers} layers, {device}", folder / "gradient_cost.png")
    print(f"Written: {folder / 'gradient_cost.json'}, {folder / 'gradient_cost.png'}")


def _sizes(name: str, values: Sequence[str]) -> list[int]:
    if not values or not all(value.isdecimal() and int(value) > 0 for value in values):
        raise ValueError(
            f"--{name} is {','.join(values)!r}, expected positive integers separated by commas."
        )
    return [int(value) for value in values]


if __name__ == "__main__":
    _DIMS = flags.DEFINE_list("dims", ["16", "64", "256", "784", "2048"], "Values of D.")
    _BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["100", "10"], "Batch sizes.")
    _METHODS = flags.DEFINE_list("methods", list(METHODS), "Methods; the floor always runs.")
    _NUM_LAYERS = flags.DEFINE_integer("num_layers", 2, "Dense layers.", lower_bound=1)
    _REPEATS = flags.DEFINE_integer("repeats", 7, "Rounds.", lower_bound=1)
    _MAX_GIB = flags.DEFINE_float("max_gib", 4.0, "Memory that a method may need.")
    _MAX_SECONDS = flags.DEFINE_float("max_seconds", 20.0, "Time for a method at one size.")
    _OUT = flags.DEFINE_string("out", "runs/benchmarks", "Folder for the JSON and the PNG.")
    command_line.run(
        lambda argv: main(
            _sizes("dims", _DIMS.value),
            _sizes("batch_sizes", _BATCH_SIZES.value),
            _METHODS.value,
            Path(_OUT.value),
            num_layers=_NUM_LAYERS.value,
            repeats=_REPEATS.value,
            max_gib=_MAX_GIB.value,
            max_seconds=_MAX_SECONDS.value,
        )
    )
