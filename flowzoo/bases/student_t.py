"""Student's t: a base whose tails are heavy."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from flowzoo.bases.base import Base
from flowzoo.numerics.shapes import check_event, sum_event


class StudentT(Base):
    """`p(z) = Π_i c(ν_i) (1 + z_i² / ν_i)^{−(ν_i + 1) / 2}`, the degrees of freedom ν_i trained.

    A flow that is Lipschitz both ways, as splines with linear tails are, keeps the tails of its
    base: from a normal one it makes no density with heavy tails.

    Source: Jaini, Kobyzev, Yu, Brubaker, "Tails of Lipschitz triangular flows", ICML 2020, arXiv
    1907.04481.

    Args:
      event_shape: shape of one `z`.
      degrees: ν at the start.
      trained: whether ν is trained.

    Raises:
      ValueError: unless ν is positive.
    """

    def __init__(self, event_shape: tuple[int, ...], *, degrees: float = 5.0, trained: bool = True):
        if not degrees > 0:
            raise ValueError(f"StudentT got degrees {degrees}, expected a positive number.")
        self.event_shape, self.trained = tuple(event_shape), bool(trained)
        self.log_degrees = nnx.Param(jnp.full(self.event_shape, math.log(degrees)))

    def _degrees(self) -> jax.Array:
        log_degrees = self.log_degrees[...]
        return jnp.exp(log_degrees if self.trained else jax.lax.stop_gradient(log_degrees))

    def log_prob(self, z, context=None):
        check_event(type(self).__name__, z, self.event_shape)
        v = self._degrees()
        constant = gammaln((v + 1) / 2) - gammaln(v / 2) - 0.5 * jnp.log(math.pi * v)
        log_prob = constant - (v + 1) / 2 * jnp.log1p(z * z / v)
        return sum_event(log_prob, len(self.event_shape))

    def sample(self, key, sample_shape=(), context=None):
        return jax.random.t(key, self._degrees(), self.draw_shape(sample_shape, context))
