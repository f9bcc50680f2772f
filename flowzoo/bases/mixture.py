"""Mixtures over whole latent vectors."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.bases.base import Base
from flowzoo.numerics.normal import log_normal_density
from flowzoo.numerics.shapes import check_event, sum_event


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
        log_prob = sum_event(log_normal_density(u) - log_scale, event_ndim)
        return jax.nn.logsumexp(log_prob + jax.nn.log_softmax(self.logits[...]), -1)

    def sample(self, key, sample_shape=(), context=None):
        shape = self.draw_shape(sample_shape, context)
        component_key, noise_key = jax.random.split(key)
        batch_shape = shape[: len(shape) - len(self.event_shape)]
        k = jax.random.categorical(component_key, self.logits[...], shape=batch_shape)
        noise = jax.random.normal(noise_key, shape)
        return self.mean[...][k] + jnp.exp(self.log_scale[...][k]) * noise
