"""Increasing functions whose slope is a piecewise linear function of equidistant knots."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.smooth import inverse_positive, positive
from flowzoo.transforms.elementwise.nonlinearities import Elementwise

# The slope at the start over the position in units of the bound, times the ratio r.
STARTS = {
    "identity": lambda v, r: np.ones_like(v),
    "outward": lambda v, r: 1 + (r - 1) * np.clip(2 * np.abs(v) - 0.25, 0, 1),
    "inward": lambda v, r: 1 / (1 + (r - 1) * np.clip(2 * np.abs(v) - 0.25, 0, 1)),
    "left": lambda v, r: 1 + (r - 1) * np.clip(0.5 - 4 * v, 0, 1),
    "right": lambda v, r: 1 + (r - 1) * np.clip(0.5 + 4 * v, 0, 1),
}


class SlopeSpline(Elementwise):
    """`σ(x) = c + ∫_0^x σ'`, σ' linear between the knots `−T, …, T` and constant beyond them.

    Each coordinate has its own slopes at the K + 1 knots and its own c, all trained; σ and σ' are
    linear in them. Simpler than `RationalQuadraticSpline`, whose knots move, and started in a shape
    where a flow that starts from the identity would end in a local optimum.

    Args:
      event_shape: shape of one `x`.
      num_bins: K.
      bound: T.
      start: what σ' is at the start: `identity`, 1 everywhere; `outward`, 1 in the middle and
        `ratio` outside; `inward`, 1 in the middle and 1 / `ratio` outside; `left` and `right`, 1 on
        one side and `ratio` on the side named.
      ratio: of the slopes.

    Raises:
      ValueError: on fewer than 2 bins, a bound or ratio that is not positive, or an unknown start.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        num_bins: int = 12,
        bound: float = 4.0,
        start: str = "identity",
        ratio: float = 6.0,
    ):
        if not 2 <= num_bins <= 100:
            raise ValueError(f"SlopeSpline got num_bins {num_bins}, expected 2 to 100.")
        if not (bound > 0 and ratio > 0):
            raise ValueError(
                f"SlopeSpline got bound {bound} and ratio {ratio}, expected positive numbers."
            )
        if start not in STARTS:
            raise ValueError(
                f"SlopeSpline got start {start!r}, expected one of {', '.join(STARTS)}."
            )
        self.event_shape = tuple(event_shape)
        self.bound = float(bound)
        slopes = STARTS[start](np.linspace(-1, 1, num_bins + 1), float(ratio))
        raw = inverse_positive(slopes)
        self.slopes = nnx.Param(jnp.tile(jnp.asarray(raw, jnp.float32), (*self.event_shape, 1)))
        self.shift = nnx.Param(jnp.zeros(self.event_shape))

    def value_and_slope(self, x):
        # One column for each knot, whatever the shape of an event.
        flat = x.reshape(*x.shape[: x.ndim - len(self.event_shape)], -1)
        slopes = positive(self.slopes[...]).reshape(flat.shape[-1], -1)
        num_bins = slopes.shape[-1] - 1
        width = 2 * self.bound / num_bins
        areas = 0.5 * width * (slopes[:, 1:] + slopes[:, :-1])
        values = jnp.cumsum(areas, axis=-1) - areas
        origin, at_origin = num_bins // 2, width * (num_bins / 2 - num_bins // 2)
        rise = slopes[:, origin + 1] - slopes[:, origin]
        start = (slopes[:, origin] + 0.5 * rise * at_origin / width) * at_origin
        values = values - (values[:, origin] + start)[:, None]
        # What each bin needs, side by side in memory, so that one gather fetches it.
        bins = jnp.stack([values, slopes[:, :-1], slopes[:, 1:]], axis=-1)
        place = (flat + self.bound) / width
        index = jnp.clip(jnp.floor(jax.lax.stop_gradient(place)), 0, num_bins - 1).astype(int)
        found = bins[jnp.arange(len(bins)), index]
        value, left, right = (found[..., i] for i in range(3))
        t = jnp.clip(place - index, 0, 1)
        slope = left + (right - left) * t
        value = value + width * t * (left + 0.5 * (right - left) * t)
        beyond = flat - jnp.clip(flat, -self.bound, self.bound)
        value = (value + beyond * slope).reshape(x.shape)
        return self.shift[...] + value, slope.reshape(x.shape)

    def bracket(self, z):
        # The slope lies between the least and the greatest of those at the knots.
        slopes = positive(self.slopes[...])
        distance = z - self.shift[...]
        ends = jnp.stack([distance / slopes.min(-1), distance / slopes.max(-1)])
        margin = 1e-5 * (1 + jnp.abs(ends).max(0))
        return ends.min(0) - margin, ends.max(0) + margin
