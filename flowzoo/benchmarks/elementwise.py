"""What the learned elementwise maps cost, beside the splines of other libraries.

    python -m flowzoo.benchmarks.elementwise [--batch=1000] [--dims=63] [--bins=8] [--layers=4]
        [--peers=flowjax,nflows,zuko] [--processor_time]

A stack of maps, each with one function for each of D coordinates, on a batch of normal numbers:
values and log-determinants; value and gradient of `Σ z²/2 − log_det`, in the input and all
parameters; and the inverse. The layers run in a loop, as the layers of a deep flow do. The programs
take turns; the times are medians in milliseconds for one layer. The spline also runs on single
events, over which `jax.vmap` maps each layer.

The splines of flowjax, nflows and zuko have as many bins, and random parameters too; only
what is installed is timed.
"""

from collections.abc import Callable
import importlib.util
import time

from absl import flags
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo import command_line
from flowzoo import transforms as T
from flowzoo.benchmarks.timing import Program, interleaved
from flowzoo.reporting.tables import markdown

PEERS = ("flowjax", "nflows", "zuko")
WHAT = ("forward", "gradient", "inverse")
BOUND = 6.0


def maps(dim: int, bins: int) -> dict[str, Callable[[], T.Transform]]:
    """The zoo's own, by name."""
    return {
        "spline": lambda: T.RationalQuadraticSpline((dim,), num_bins=bins, bound=BOUND),
        "slope spline": lambda: T.SlopeSpline((dim,)),
        "learned tanh mix": lambda: T.LearnedTanhMix((dim,)),
        "learned smooth leaky ReLU": lambda: T.LearnedSmoothLeakyReLU((dim,)),
        "divisive normalization": lambda: T.DivisiveNormalization(dim),
    }


def programs(
    make: Callable[[], T.Transform], x: np.ndarray, layers: int, *, mapped: bool = False
) -> dict[str, Program]:
    """The three programs of a map of the zoo, its parameters near those that it starts with.

    Args:
      mapped: whether `jax.vmap` maps each layer over single events, in place of a batch.
    """
    graph, state = nnx.split(make())
    rng = np.random.default_rng(0)
    stacked = jax.tree.map(
        lambda a: jnp.asarray(a + 0.3 * rng.normal(size=(layers, *a.shape)), a.dtype), state
    )

    def layer(method: str):
        def apply(state, x):
            return getattr(nnx.merge(graph, state), method)(x)

        return jax.vmap(apply, (None, 0)) if mapped else apply

    forward, inverse = layer("forward_and_log_det"), layer("inverse_and_log_det")
    return _jax_programs(forward, inverse, stacked, jnp.asarray(x, jnp.float32))


def _jax_programs(forward, inverse, stacked, x) -> dict[str, Program]:
    def through(one, stacked, x):
        x, log_dets = jax.lax.scan(lambda x, layer: one(layer, x), x, stacked)
        return x, log_dets.sum(0)

    def loss(stacked, x):
        z, log_det = through(forward, stacked, x)
        return 0.5 * jnp.square(z).sum() - log_det.sum()

    calls = {
        "forward": lambda s, x: through(forward, s, x),
        "gradient": jax.value_and_grad(loss, argnums=(0, 1)),
        "inverse": lambda s, x: through(inverse, s, x),
    }

    def program(call) -> Program:
        compiled = jax.jit(call)

        def run(count: int) -> None:
            for _ in range(count):
                result = compiled(stacked, x)
            jax.block_until_ready(result)

        return run

    return {name: program(call) for name, call in calls.items()}


def flowjax_programs(dim: int, bins: int, x: np.ndarray, layers: int) -> dict[str, Program]:
    """`RationalQuadraticSpline`, vectorised over coordinates and rows."""
    import equinox as eqx
    from flowjax.bijections import RationalQuadraticSpline
    import paramax

    one = RationalQuadraticSpline(knots=bins, interval=BOUND)
    parameters, static = eqx.partition(one, eqx.is_inexact_array)
    rng = np.random.default_rng(0)
    stacked = jax.tree.map(
        lambda a: jnp.asarray(a + 0.3 * rng.normal(size=(layers, dim, *a.shape)), jnp.float32),
        parameters,
    )

    def rows(method: str):
        def single(parameters, x):
            return getattr(paramax.unwrap(eqx.combine(parameters, static)), method)(x)

        def batch(parameters, x):
            y, log_det = jax.vmap(jax.vmap(single), (None, 0))(parameters, x)
            return y, log_det.sum(-1)

        return batch

    x = jnp.asarray(x, jnp.float32)
    return _jax_programs(rows("transform_and_log_det"), rows("inverse_and_log_det"), stacked, x)


def torch_programs(apply, parameters: list, x: np.ndarray, layers: int) -> dict[str, Program]:
    """Of `apply(parameters, x, inverse) -> (y, log-slopes)` in PyTorch."""
    import torch

    x = torch.tensor(x, dtype=torch.float32, requires_grad=True)

    def through(inverse: bool):
        y, total = x, 0.0
        for _ in range(layers):
            y, log_slope = apply(parameters, y, inverse)
            total = total + log_slope.sum(-1)
        return y, total

    def without_gradient(inverse: bool) -> Program:
        def run(count: int) -> None:
            with torch.no_grad():
                for _ in range(count):
                    through(inverse)

        return run

    def gradient(count: int) -> None:
        for _ in range(count):
            z, log_det = through(False)
            loss = 0.5 * (z**2).sum() - log_det.sum()
            torch.autograd.grad(loss, [x, *parameters])

    return {
        "forward": without_gradient(False),
        "gradient": gradient,
        "inverse": without_gradient(True),
    }


def nflows_programs(dim: int, bins: int, x: np.ndarray, layers: int) -> dict[str, Program]:
    """`unconstrained_rational_quadratic_spline`, its parameters the same in all rows."""
    from nflows.transforms.splines import unconstrained_rational_quadratic_spline as spline

    def apply(parameters, x, inverse):
        rows = [p.expand(len(x), *p.shape) for p in parameters]
        return spline(x, *rows, inverse=inverse, tails="linear", tail_bound=BOUND)

    return torch_programs(apply, _torch_parameters(dim, bins), x, layers)


def zuko_programs(dim: int, bins: int, x: np.ndarray, layers: int) -> dict[str, Program]:
    """`MonotonicRQSTransform`."""
    from zuko.transforms import MonotonicRQSTransform

    def apply(parameters, x, inverse):
        transform = MonotonicRQSTransform(*parameters, bound=BOUND)
        return (transform.inv if inverse else transform).call_and_ladj(x)

    return torch_programs(apply, _torch_parameters(dim, bins), x, layers)


def _torch_parameters(dim: int, bins: int) -> list:
    """Widths, heights and inner slopes of a spline for each coordinate, near the identity."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return [
        (0.3 * torch.randn(dim, size, generator=generator)).requires_grad_()
        for size in (bins, bins, bins - 1)
    ]


PEER_PROGRAMS = {
    "flowjax": flowjax_programs,
    "nflows": nflows_programs,
    "zuko": zuko_programs,
}


def main(argv: list[str]) -> None:
    del argv
    if unknown := set(_PEERS.value) - set(PEERS) - {""}:
        raise ValueError(f"--peers names {sorted(unknown)}, expected some of {', '.join(PEERS)}.")
    dim, bins, layers = _DIMS.value, _BINS.value, _LAYERS.value
    x = np.random.default_rng(1).normal(size=(_BATCH.value, dim))
    found = {name: programs(make, x, layers) for name, make in maps(dim, bins).items()}
    spline = maps(dim, bins)["spline"]
    found["spline, by jax.vmap over events"] = programs(spline, x, layers, mapped=True)
    for peer in _PEERS.value:
        if peer and importlib.util.find_spec(peer):
            found[f"spline of {peer}"] = PEER_PROGRAMS[peer](dim, bins, x, layers)
    timed = {(name, what): of[what] for name, of in found.items() for what in WHAT}
    clock = time.process_time if _PROCESSOR.value else time.perf_counter
    times = interleaved(timed, repeats=_REPEATS.value, clock=clock)
    rows = [
        [name, *(f"{1e3 * np.median(times[name, what]) / layers:.2f}" for what in WHAT)]
        for name in found
    ]
    print(markdown(("map", *WHAT), rows))


if __name__ == "__main__":
    _BATCH = flags.DEFINE_integer("batch", 1000, "Rows in a batch.", lower_bound=1)
    _DIMS = flags.DEFINE_integer("dims", 63, "Coordinates, D.", lower_bound=1)
    _BINS = flags.DEFINE_integer("bins", 8, "Bins of the splines.", lower_bound=2)
    _LAYERS = flags.DEFINE_integer("layers", 4, "Maps in a stack.", lower_bound=1)
    _REPEATS = flags.DEFINE_integer("repeats", 7, "Rounds of measurements.", lower_bound=1)
    _PEERS = flags.DEFINE_list("peers", list(PEERS), "Other libraries, if they are installed.")
    _PROCESSOR = flags.DEFINE_bool("processor_time", False, "Not the time of a clock on the wall.")
    command_line.run(main)
