"""Bases over bounded sets: what a flow that keeps to a box or to the circle is built on."""

import math

import jax
import jax.numpy as jnp

from flowzoo.bases.base import Base
from flowzoo.bases.factorial import Factorial
from flowzoo.numerics.shapes import check_event, sum_event


class TruncatedNormal(Base):
    """`p(z) = Π_i φ(z_i) / (Φ(b) − Φ(a))` for `a <= z_i <= b`, else zero.

    Args:
      event_shape: shape of one `z`.
      low, high: a and b.

    Raises:
      ValueError: unless `low < high`.
    """

    def __init__(self, event_shape: tuple[int, ...], *, low: float = -3.0, high: float = 3.0):
        if not low < high:
            raise ValueError(
                f"TruncatedNormal got low {low} and high {high}, expected the lower one first."
            )
        self.event_shape = tuple(event_shape)
        self.low, self.high = float(low), float(high)

    def log_prob(self, z, context=None):
        check_event(type(self).__name__, z, self.event_shape)
        log_prob = jax.scipy.stats.truncnorm.logpdf(z, self.low, self.high)
        return sum_event(log_prob, len(self.event_shape))

    def sample(self, key, sample_shape=(), context=None):
        shape = self.draw_shape(sample_shape, context)
        return jax.random.truncated_normal(key, self.low, self.high, shape)


class Uniform(Factorial):
    """`p(z) = 1` for `0 <= z_i <= 1`, else zero."""

    @staticmethod
    def log_density(z):
        return jnp.where((z >= 0) & (z <= 1), jnp.zeros_like(z), -jnp.inf)

    @staticmethod
    def draw(key, shape):
        return jax.random.uniform(key, shape)


class UniformCircle(Factorial):
    """`p(z) = 1 / (2π)` for each angle, angles being the same that differ by full turns."""

    @staticmethod
    def log_density(z):
        return jnp.full_like(z, -math.log(2 * math.pi))

    @staticmethod
    def draw(key, shape):
        return jax.random.uniform(key, shape, minval=-math.pi, maxval=math.pi)
