"""Relative against ordinary gradient descent, the experiment of the paper's figure 1 (right).

    python -m flowzoo.benchmarks.descent [--density=NAME] [--out=DIR]

1,000 points in two dimensions, the full batch at every step, a flow of two layers
`z = W₂ σ(W₁ x + b₁) + b₂` with smooth leaky ReLU and a standard normal base, 10 starting points
(orthogonal W, b = 0), 1,000 steps of plain gradient descent: no momentum, no Adam. Both methods get
the same starting points and the same grid of learning rates, and each one the rate at which its
final loss, averaged over the starting points, is lowest; a rate at which any start diverges is out.

Mean final loss in nats (seed 0, float32, CPU) and the rates that gave it:

    density               ordinary         relative
    mixture_of_gaussians  4.912 at 0.1778  5.152 at 0.0178
    moons                 1.918 at 0.1     1.913 at 0.0562
    sine                  2.666 at 0.1     2.663 at 0.0562
    eight_gaussians       4.276 at 0.1     4.263 at 0.0562
    smile                 4.623 at 0.0316  4.592 at 0.0562
    two_spirals           3.813 at 0.0562  3.796 at 0.0562
    checkerboard          4.498 at 0.0562  4.469 at 0.0562
    rings                 3.644 at 0.1     3.643 at 0.0562

On mixture_of_gaussians, the widest of them, the ordinary gradient's best rate is beyond the edge at
which its loss still falls steadily, and the relative gradient diverges there.

Source: Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient optimization of the
Jacobian term in unsupervised deep learning", arXiv 2006.15090. The choice of densities and of
learning rates is flowzoo's own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from flowzoo import command_line
from flowzoo.data.toy import TOYS
from flowzoo.relative import affine, log_abs_det
from flowzoo.reporting import plots
from flowzoo.transforms.elementwise.nonlinearities import smooth_leaky_relu

ALPHA = 0.01
RATES = tuple(np.round(10 ** np.arange(-2, -0.4, 0.25), 4).tolist())
STEPS_PER_POINT = 10

Params = list[tuple[jax.Array, jax.Array]]


class Descent(NamedTuple):
    """One method at its best learning rate.

    Attributes:
      rate: the learning rate.
      losses: `[starts, 1 + steps / STEPS_PER_POINT]`, in nats, every `STEPS_PER_POINT` steps.
      mean_final: rate -> final loss averaged over the starting points, NaN where one diverged.
    """

    rate: float
    losses: np.ndarray
    mean_final: dict[float, float]

    @property
    def final(self) -> np.ndarray:
        """`[starts]`."""
        return self.losses[:, -1]


def negative_log_likelihood(params: Params, x: jax.Array, rule: str) -> jax.Array:
    """Mean over the batch, in nats, differentiated by `rule`; `x: [B, D]`."""
    (w1, b1), (w2, b2) = params
    y, slope = smooth_leaky_relu(affine(x, w1, b1, rule), ALPHA)
    z = affine(y, w2, b2, rule)
    log_p = jnp.sum(jnp.log(slope) - 0.5 * z**2 - 0.5 * jnp.log(2 * jnp.pi), axis=-1)
    return -jnp.mean(log_p) - log_abs_det(w1, b1, rule) - log_abs_det(w2, b2, rule)


def starting_points(key: jax.Array, starts: int, dim: int = 2) -> Params:
    """Two layers of stacked starting points: orthogonal `[starts, dim, dim]` and zeros."""
    bias = jnp.zeros((starts, dim))
    return [
        (jax.random.orthogonal(layer_key, dim, (starts,)), bias)
        for layer_key in jax.random.split(key)
    ]


def descend(
    rule: str, starts: Params, x: jax.Array, *, steps: int, rates: Sequence[float]
) -> Descent:
    """Runs every starting point at every rate, and keeps the best rate."""

    def run(rate, params):
        def step(params, _):
            grads = jax.grad(negative_log_likelihood)(params, x, rule)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), None

        def point(params, _):
            loss = negative_log_likelihood(params, x, rule)
            return jax.lax.scan(step, params, length=STEPS_PER_POINT)[0], loss

        params, losses = jax.lax.scan(point, params, length=steps // STEPS_PER_POINT)
        return jnp.append(losses, negative_log_likelihood(params, x, rule))

    run_all_starts = jax.jit(jax.vmap(run, (None, 0)))
    losses = np.stack([run_all_starts(rate, starts) for rate in rates])
    mean_final = losses[:, :, -1].mean(axis=1)
    best = np.nanargmin(mean_final)
    return Descent(rates[best], losses[best], dict(zip(rates, mean_final.tolist(), strict=True)))


def compare(
    density: str,
    *,
    starts: int = 10,
    points: int = 1000,
    steps: int = 1000,
    rates: Sequence[float] = RATES,
    seed: int = 0,
) -> dict[str, Descent]:
    """Returns the descents by the ordinary and by the relative gradient."""
    x = jnp.array(TOYS[density](np.random.default_rng(seed), points), jnp.float32)
    start = starting_points(jax.random.key(seed), starts)
    return {
        rule: descend(rule, start, x, steps=steps, rates=rates) for rule in ("ordinary", "relative")
    }


def table(descents: dict[str, Descent]) -> str:
    """Final losses per starting point, and when relative descent was as low as ordinary's end."""
    ordinary, relative = descents["ordinary"], descents["relative"]
    lines = [
        "final negative log-likelihood, nats (lower is better)",
        f"{'start':>13} {'ordinary':>9} {'relative':>9} {'difference':>11}",
    ]
    for i, (a, b) in enumerate(zip(ordinary.final, relative.final, strict=True)):
        lines.append(f"{i:>13} {a:9.4f} {b:9.4f} {b - a:+11.4f}")
    a, b = ordinary.final.mean(), relative.final.mean()
    lines.append(f"{'mean':>13} {a:9.4f} {b:9.4f} {b - a:+11.4f}")
    lines.append(f"{'learning rate':>13} {ordinary.rate:9.4f} {relative.rate:9.4f}")
    reached = relative.losses.mean(axis=0) <= a
    if reached.any():
        step = STEPS_PER_POINT * int(np.argmax(reached))
        lines.append(f"The mean relative loss is at the ordinary one's last value at step {step}.")
    lines.append("mean final loss at each learning rate (nan: a start diverged)")
    for rate in ordinary.mean_final:
        a, b = ordinary.mean_final[rate], relative.mean_final[rate]
        lines.append(f"{rate:>13} {a:9.4f} {b:9.4f} {b - a:+11.4f}")
    return "\n".join(lines)


def draw(descents: dict[str, Descent], title: str, path: Path) -> None:
    """Draws every starting point's loss by step into a PNG file."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for (rule, descent), color in zip(descents.items(), ("tab:orange", "tab:blue"), strict=True):
        steps = STEPS_PER_POINT * np.arange(descent.losses.shape[1])
        curves = axes.plot(steps, descent.losses.T, color=color, linewidth=1, alpha=0.8)
        curves[0].set_label(f"{rule}, learning rate {descent.rate:g}")
    # The loss falls by nats at first, the methods end hundredths apart, and a rate at the edge of
    # stability makes spikes: the axis shows most of what comes after the first tenth.
    late = np.concatenate([d.losses[:, d.losses.shape[1] // 10 :] for d in descents.values()])
    axes.set_ylim(*np.quantile(late, (0, 0.97)))
    axes.set(xlabel="step", ylabel="negative log-likelihood (nats)", title=title)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.save(figure, path)


def main(density: str, folder: Path) -> None:
    """Runs the comparison, prints the table and writes `descent-<density>.png` into `folder`."""
    descents = compare(density)
    print(f"{density}: 10 starting points, 1,000 points, 1,000 steps; rates {RATES}")
    print(table(descents))
    path = folder / f"descent-{density}.png"
    draw(descents, f"Full-batch gradient descent, {density.replace('_', ' ')}", path)
    print(f"Curves: {path}")


if __name__ == "__main__":
    _DENSITY = flags.DEFINE_enum("density", "moons", list(TOYS), "What the points are drawn from.")
    _OUT = flags.DEFINE_string("out", "runs/benchmarks", "Folder for the PNG.")
    command_line.run(lambda argv: main(_DENSITY.value, Path(_OUT.value)))
