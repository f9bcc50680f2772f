"""Base distributions: what the latents are distributed as. Log-densities are in nats."""

from abc import abstractmethod
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.transforms.transform import check_event, sum_event


class Base(nnx.Module):
    """A distribution over latents `z: [..., *event_shape]`."""

    event_shape: tuple[int, ...]

    @abstractmethod
    def log_prob(self, z: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Log-density `[...]` of `z: [..., *event_shape]`; `context: [..., C]` is encoded."""

    @abstractmethod
    def sample(
        self,
        key: jax.Array,
        sample_shape: tuple[int, ...] = (),
        context: jax.Array | None = None,
    ) -> jax.Array:
        """Draws `[*sample_shape, *context.shape[:-1], *event_shape]`."""

    def draw_shape(self, sample_shape: tuple[int, ...], context: jax.Array | None):
        """The shape of a draw: samples first, then one event for each context."""
        batch_shape = () if context is None else context.shape[:-1]
        return tuple(sample_shape) + batch_shape + self.event_shape


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


class MixtureOfGaussians(Base):
    """`p(z) = Σ_k π_k N(z; μ_k, diag σ_k²)` over whole vectors, with trained parameters.

    Args:
      event_shape: shape of one `z`.
      num_components: K.
      rngs: draws the means from N(0, 1); weights start equal, scales at one.
    """

    def __init__(self, event_shape: tuple[int, ...], *, num_components: int, rngs: nnx.Rngs):
        if num_components < 1:
            raise ValueError(f"MixtureOfGaussians got {num_components} components, expected >= 1.")
        self.event_shape = tuple(event_shape)
        shape = (num_components, *self.event_shape)
        self.logits = nnx.Param(jnp.zeros(num_components))
        self.mean = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.log_scale = nnx.Param(jnp.zeros(shape))

    def log_prob(self, z, context=None):
        check_event(type(self).__name__, z, self.event_shape)
        event_ndim = len(self.event_shape)
        mean, log_scale = self.mean[...], self.log_scale[...]
        z = jnp.expand_dims(z, -1 - event_ndim)
        u = (z - mean) * jnp.exp(-log_scale)
        log_prob = sum_event(StandardNormal.log_density(u) - log_scale, event_ndim)
        return jax.nn.logsumexp(log_prob + jax.nn.log_softmax(self.logits[...]), -1)

    def sample(self, key, sample_shape=(), context=None):
        shape = self.draw_shape(sample_shape, context)
        component_key, noise_key = jax.random.split(key)
        batch_shape = shape[: len(shape) - len(self.event_shape)]
        k = jax.random.categorical(component_key, self.logits[...], shape=batch_shape)
        noise = jax.random.normal(noise_key, shape)
        return self.mean[...][k] + jnp.exp(self.log_scale[...][k]) * noise


FACTORIAL = {
    "standard_normal": StandardNormal,
    "hyperbolic_secant": HyperbolicSecant,
    "logistic": Logistic,
    "laplace": Laplace,
}
