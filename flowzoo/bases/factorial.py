"""Factorial bases: coordinates that are independent and identically distributed."""

from abc import abstractmethod
import math

import jax
import jax.numpy as jnp

from flowzoo.bases.base import Base
from flowzoo.numerics.shapes import check_event, sum_event


class Factorial(Base):
    """Independent and identically distributed coordinates, without parameters."""

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = tuple(event_shape)

    @staticmethod
    @abstractmethod
    def log_density(z: jax.Array) -> jax.Array:
        """Log-density of each coordinate."""

    @staticmethod
    @abstractmethod
    def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Independent draws of the given shape."""

    def log_prob(self, z, context=None):
        check_event(type(self).__name__, z, self.event_shape)
        return sum_event(self.log_density(z), len(self.event_shape))

    def sample(self, key, sample_shape=(), context=None):
        return self.draw(key, self.draw_shape(sample_shape, context))


class StandardNormal(Factorial):
    """`p(z) = exp(−z²/2) / √(2π)`; variance 1."""

    @staticmethod
    def log_density(z):
        return -0.5 * (z**2 + math.log(2 * math.pi))

    @staticmethod
    def draw(key, shape):
        return jax.random.normal(key, shape)


class HyperbolicSecant(Factorial):
    """`p(z) = ½ sech(π z / 2)`; variance 1, tails `exp(−π|z|/2)`."""

    @staticmethod
    def log_density(z):
        u = 0.5 * math.pi * jnp.abs(z)
        return -u - jnp.log1p(jnp.exp(-2 * u))

    @staticmethod
    def draw(key, shape):
        # The quantile function (2/π) log tan(π p / 2), in the form that is odd around p = ½.
        p = jax.random.uniform(key, shape, minval=jnp.finfo(float).eps, maxval=1.0)
        return (2 / math.pi) * jnp.arcsinh(jnp.tan(math.pi * (p - 0.5)))


class Logistic(Factorial):
    """`p(z) = e^{−z} / (1 + e^{−z})²`; variance π²/3."""

    @staticmethod
    def log_density(z):
        return jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z)

    @staticmethod
    def draw(key, shape):
        return jax.random.logistic(key, shape)


class Laplace(Factorial):
    """`p(z) = ½ e^{−|z|}`; variance 2."""

    @staticmethod
    def log_density(z):
        return -jnp.abs(z) - math.log(2)

    @staticmethod
    def draw(key, shape):
        return jax.random.laplace(key, shape)


FACTORIAL = {
    "standard_normal": StandardNormal,
    "hyperbolic_secant": HyperbolicSecant,
    "logistic": Logistic,
    "laplace": Laplace,
}
