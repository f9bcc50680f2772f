"""Angles, cut at one place: the circle without a point to the unit interval."""

import math

import jax.numpy as jnp

from flowzoo.numerics.shapes import batch_shape
from flowzoo.transforms.transform import Transform


class Angle(Transform):
    """`z = ((x − cut) mod 2π) / 2π`; `log_det = −D log 2π`. The inverse gives angles within
    `[low, low + 2π)`.

    A density of the unit interval becomes one of the circle, which need not be continuous at the
    cut: it belongs where there are no data. `CircularSpline` has no such place.

    Args:
      event_shape: shape of one `x`.
      cut: an angle in radians.
      low: the least of the angles that come back.
    """

    def __init__(self, event_shape: tuple[int, ...], *, cut: float = -math.pi, low=-math.pi):
        self.event_shape = tuple(event_shape)
        self.cut, self.low = float(cut), float(low)

    def _log_det(self, x):
        each = jnp.asarray(-math.prod(self.event_shape) * math.log(2 * math.pi), x.dtype)
        return jnp.broadcast_to(each, batch_shape(x, self.event_shape))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return jnp.mod(x - self.cut, 2 * math.pi) / (2 * math.pi), self._log_det(x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = self.low + jnp.mod(2 * math.pi * z + (self.cut - self.low), 2 * math.pi)
        return x, -self._log_det(z)
