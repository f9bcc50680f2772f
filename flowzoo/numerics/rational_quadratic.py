"""Monotone rational-quadratic splines: one bin, and whole splines of the box for each event.

Sources: Gregory, Delbourgo, "Piecewise rational quadratic interpolation to monotonic data", 1982;
Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", arXiv 1906.04032.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from flowzoo.numerics.smooth import positive

MIN_WIDTH = 1e-3  # of a bin, as a share of the whole interval


class Bin(NamedTuple):
    """The part of a spline between two knots; all arrays broadcast against each other.

    Attributes:
      x, width: where it begins and how far it goes.
      y, height: the value there, and by how much it rises.
      slope, next_slope: the derivatives at its beginning and at its end, positive.
    """

    x: jax.Array
    width: jax.Array
    y: jax.Array
    height: jax.Array
    slope: jax.Array
    next_slope: jax.Array


@jax.custom_jvp
def evaluate_bin(x: jax.Array, of: Bin) -> tuple[jax.Array, jax.Array]:
    """The value and the slope at `x`, which lies in the bin.

    With s the secant and t in [0, 1] the position in the bin,
    `y = y_0 + h (s t² + d_0 t (1 − t)) / (s + (d_0 + d_1 − 2 s) t (1 − t))`.
    """
    return _evaluate_bin(x, of)


def _evaluate_bin(x: jax.Array, of: Bin) -> tuple[jax.Array, jax.Array]:
    """As `evaluate_bin`, differentiated automatically."""
    x0, width, y0, height, d0, d1 = of
    t = (x - x0) / width
    secant, u = height / width, 1 - t
    denominator = secant + (d0 + d1 - 2 * secant) * t * u
    y = y0 + height * (secant * t * t + d0 * t * u) / denominator
    ratio = secant / denominator
    return y, ratio * ratio * (d1 * t * t + 2 * secant * t * u + d0 * u * u)


@evaluate_bin.defjvp
def _evaluate_bin_jvp(primals, tangents):
    return evaluate_bin(*primals), _change(primals, tangents)


# From the inputs alone, XLA's CPU backend computes the gradient in each input in one loop; what
# autodiff keeps of the way to two outputs takes many more.
@functools.partial(jax.checkpoint, prevent_cse=False)
def _change(primals, tangents) -> tuple[jax.Array, jax.Array]:
    """How the results of `evaluate_bin` change."""
    x, (x0, width, _, height, d0, d1) = primals
    dx, of = tangents
    rate = 1 / width
    t = (x - x0) * rate
    secant, u, bend = height * rate, 1 - t, 1 - 2 * t
    tu, curvature = t * u, d0 + d1 - 2 * secant
    r = 1 / (secant + curvature * tu)
    share, ratio = (secant * t * t + d0 * tu) * r, secant * r
    quadratic = d1 * t * t + 2 * secant * tu + d0 * u * u
    slope = ratio * ratio * quadratic

    shift = dx - of.x - t * of.width
    dt, dsecant = rate * shift, rate * (of.height - secant * of.width)
    # At the same t.
    dnumerator = t * t * dsecant + tu * of.slope
    ddenominator = (1 - 2 * tu) * dsecant + tu * (of.slope + of.next_slope)
    dy = of.y + share * of.height + slope * shift
    dy += height * r * (dnumerator - share * ddenominator)

    ddenominator += curvature * bend * dt
    dquadratic = t * t * of.next_slope + 2 * tu * dsecant + u * u * of.slope
    dquadratic += 2 * (d1 * t + secant * bend - d0 * u) * dt
    dslope = ratio * ratio * dquadratic
    dslope += 2 * r * (ratio * quadratic * dsecant - slope * ddenominator)
    return dy, dslope


def invert_bin(y: jax.Array, of: Bin) -> jax.Array:
    """The `x` at which the bin has the value `y`, by the quadratic formula."""
    x0, width, y0, height, d0, d1 = of
    secant, rest = height / width, y - y0
    curvature = rest * (d0 + d1 - 2 * secant)
    a = height * (secant - d0) + curvature
    b = height * d0 - curvature
    c = -secant * rest
    # The form of the root that does not cancel; b > 0 wherever a > 0.
    t = jnp.clip(2 * c / (-b - jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0))), 0, 1)
    return x0 + t * width


class BoxSpline(NamedTuple):
    """Increasing functions that map [−bound, bound] onto itself, and more as the caller says.

    K bins lie on the last axis but one, so that a sum over them runs along whole rows of memory;
    coordinates lie on the last.

    Attributes:
      widths, heights: `[..., K, D]`, of the bins, positive, with the sum 2 bound.
      slopes: `[..., K + 1, D]`, real, at the knots; zero stands for a slope of one.
      bound: half of the box's side.
    """

    widths: jax.Array
    heights: jax.Array
    slopes: jax.Array
    bound: float

    @classmethod
    def from_outputs(cls, y: jax.Array, bound: float, *, periodic: bool = False) -> "BoxSpline":
        """From real numbers as networks give them; zeros give the identity.

        Args:
          y: `[..., 3 K − 1, D]`, for a slope of 1 at both ends, or `[..., 3 K, D]`.
          bound: half of the box's side.
          periodic: whether the slope is the same, but any, at both ends, which takes one more
            number.
        """
        num_bins = (y.shape[-2] + 1 - periodic) // 3
        # A bin's share of the interval is below the resolution of half precision.
        dtype = jnp.promote_types(y.dtype, jnp.float32)
        widths, heights, slopes = jnp.split(y.astype(dtype), (num_bins, 2 * num_bins), -2)
        floor = min(MIN_WIDTH, 0.5 / num_bins)

        def sides(a):
            return 2 * bound * (floor + (1 - num_bins * floor) * jax.nn.softmax(a, -2))

        if periodic:
            slopes = jnp.concatenate([slopes, slopes[..., :1, :]], -2)
        else:
            slopes = jnp.pad(slopes, [(0, 0)] * (slopes.ndim - 2) + [(1, 1), (0, 0)])
        return cls(sides(widths), sides(heights), slopes, bound)

    def _bin(self, sides: jax.Array, at: jax.Array) -> Bin:
        """The bins that hold `at: [..., D]`, the sides being widths or heights.

        A sum over a one-hot axis of bins takes half the time of a gather, gradients included, where
        every event has its own spline.
        """
        edges = jnp.cumsum(sides[..., :-1, :], -2) - self.bound
        past = at[..., None, :] >= edges
        ends = [(0, 0)] * (past.ndim - 2)
        first = jnp.pad(past, [*ends, (1, 0), (0, 0)], constant_values=True)
        here = (first & ~jnp.pad(past, [*ends, (0, 1), (0, 0)])).astype(sides.dtype)
        past = past.astype(sides.dtype)
        widths, heights = self.widths, self.heights
        return Bin(
            (past * widths[..., :-1, :]).sum(-2) - self.bound,
            (here * widths).sum(-2),
            (past * heights[..., :-1, :]).sum(-2) - self.bound,
            (here * heights).sum(-2),
            positive((here * self.slopes[..., :-1, :]).sum(-2)),
            positive((here * self.slopes[..., 1:, :]).sum(-2)),
        )

    def evaluate_inside(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The values and the logarithms of the slopes at `x: [..., D]` in [−bound, bound]."""
        y, slope = evaluate_bin(x, self._bin(self.widths, x))
        return y, jnp.log(slope)

    def invert_inside(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The `x` with the values `y: [..., D]` in [−bound, bound], and the log-slopes there."""
        of = self._bin(self.heights, y)
        x = invert_bin(y, of)
        # With autodiff, where x is no input, the gradients of many coordinates are faster.
        return x, jnp.log(_evaluate_bin(x, of)[1])

    def evaluate(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `evaluate_inside` for any `x: [..., D]`, with the identity outside the box."""
        return self._everywhere(self.evaluate_inside, x)

    def invert(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """As `invert_inside` for any `y: [..., D]`, with the identity outside the box."""
        return self._everywhere(self.invert_inside, y)

    def _everywhere(self, function, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        inside = jnp.clip(a, -self.bound, self.bound).astype(self.widths.dtype)
        b, log_slope = function(inside)
        is_inside = jnp.abs(a) < self.bound
        b, log_slope = jnp.where(is_inside, b, a), jnp.where(is_inside, log_slope, 0)
        return b.astype(a.dtype), log_slope.astype(a.dtype)


def num_outputs(name: str, num_bins: int, bound: float) -> int:
    """How many real numbers make a `BoxSpline` of so many bins.

    Raises:
      ValueError: on fewer than 2 bins or a bound that is not positive; the sentence names `name`.
    """
    if num_bins < 2:
        raise ValueError(f"{name} got num_bins {num_bins}, expected at least 2.")
    if not bound > 0:
        raise ValueError(f"{name} got bound {bound}, expected a positive number.")
    return 3 * num_bins - 1
