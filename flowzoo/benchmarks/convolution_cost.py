"""What a training step of a circular convolution costs under each gradient rule.

    python -m flowzoo.benchmarks.convolution_cost [--sizes=1x28,4x14,16x7,48x16,192x8] [--batch=100]

One `PeriodicConv` of k × k taps on C × n² images, its loss a normal log-likelihood. Printed are the
times of the gradient in kernel, bias and input: of the convolution alone (the floor), with the
exact log-determinant by the ordinary rule, and by the relative one, which multiplies the same
gradient by its metric; then that of value and gradient of the log-determinant alone. Each ratio is
the median of those within the rounds, in which the programs take turns.
"""

from collections.abc import Callable

from absl import flags
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo import command_line
from flowzoo.benchmarks.timing import Program, interleaved, ratio
from flowzoo.numerics import torus
from flowzoo.reporting.tables import markdown
from flowzoo.transforms import PeriodicConv, with_modes
from flowzoo.transforms.convolution.periodic import convolve

_SIZES = flags.DEFINE_list(
    "sizes", ["1x28", "4x14", "16x7", "48x16", "192x8"], "Channels x pixels in each direction."
)
_TAPS = flags.DEFINE_integer("taps", 3, "k, of a k × k kernel.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch", 100, "Images in a batch.", lower_bound=1)
_REPEATS = flags.DEFINE_integer("repeats", 7, "Rounds of measurements.", lower_bound=1)

HEADER = ("C × n²", "floor", "ordinary / floor", "relative / floor", "log-determinant")


def programs(channels: int, pixels: int, taps: int, batch: int) -> dict[str, Program]:
    """The programs to time, by name.

    Args:
      channels, pixels: C and n.
      taps: k.
      batch: images in a batch.
    """
    shape = (pixels, pixels, channels)
    layer = PeriodicConv(shape, kernel_size=min(taps, pixels), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(batch, *shape)), jnp.float32)

    def floor(layer, x):
        z = convolve(x, layer.kernel[...]) + layer.bias[...]
        return 0.5 * jnp.square(z).sum((1, 2, 3)).mean()

    def whole(layer, x):
        z, log_det = layer.forward_and_log_det(x)
        return (0.5 * jnp.square(z).sum((1, 2, 3)) - log_det).mean()

    def log_det(layer, x):
        return torus.log_abs_det(layer.kernel[...], shape[:2])

    def timed(loss: Callable, rule: str) -> Program:
        graph, state = nnx.split(with_modes(layer, gradient_rule=rule))
        gradient = jax.jit(jax.grad(lambda s, x: loss(nnx.merge(graph, s), x), argnums=(0, 1)))

        def program(count: int) -> None:
            for _ in range(count):
                result = gradient(state, x)
            jax.block_until_ready(result)

        return program

    return {
        "floor": timed(floor, "ordinary"),
        "ordinary": timed(whole, "ordinary"),
        "relative": timed(whole, "relative"),
        "log_det": timed(log_det, "ordinary"),
    }


def main(argv: list[str]) -> None:
    del argv
    rows = []
    for size in _SIZES.value:
        parts = size.split("x")
        if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
            raise ValueError(f"--sizes holds {size!r}, expected channels x pixels, such as 4x14.")
        channels, pixels = map(int, parts)
        times = interleaved(
            programs(channels, pixels, _TAPS.value, _BATCH.value), repeats=_REPEATS.value
        )
        milliseconds = {name: f"{1e3 * np.median(t):.2f} ms" for name, t in times.items()}
        rows.append(
            [
                f"{channels} × {pixels}²",
                milliseconds["floor"],
                *(f"{ratio(times[n], times['floor'])[0]:.2f}" for n in ("ordinary", "relative")),
                milliseconds["log_det"],
            ]
        )
        print(*rows[-1], sep="   ", flush=True)
    print(markdown(HEADER, rows))


if __name__ == "__main__":
    command_line.run(main)
