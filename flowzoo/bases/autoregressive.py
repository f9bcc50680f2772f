"""Autoregressive base distributions, sampled exactly in the work of one pass."""

from flax import nnx
import jax

from flowzoo.bases.base import Base
from flowzoo.nets.masked_mlp import MaskedMLP
from flowzoo.nets.mixture_outputs import num_outputs, spread_means
from flowzoo.numerics.gaussian_mixture import Mixture
from flowzoo.numerics.shapes import check_event


class MixtureMADE(Base):
    """`p(z | c) = Π_i Σ_k π_ik N(z_i; μ_ik, σ_ik²)`, π, μ, σ functions of `z_0 … z_{i−1}` and c.

    The density of `MixtureAutoregressive` on a standard normal, as a base of its own: the density
    then needs no distribution function, and a sample draws a component and a normal number instead
    of solving for a quantile.

    Sources: Germain, Gregor, Murray, Larochelle, "MADE: masked autoencoder for distribution
    estimation", arXiv 1502.03509; Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for
    density estimation", arXiv 1705.07057, for the mixture.

    Args:
      dim: D.
      num_components: C.
      context_size: width of the context, 0 for none.
      rngs: draws weights, random degrees and the components' first means.
      **options: the other options of `MaskedMLP`.

    Raises:
      ValueError: if there is no component, or `MaskedMLP` refuses an option.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_components: int = 10,
        context_size: int = 0,
        rngs: nnx.Rngs,
        **options,
    ):
        self.event_shape = (dim,)
        self.context_size = context_size
        self.net = MaskedMLP(
            dim, num_outputs(num_components), context_size=context_size, rngs=rngs, **options
        )
        spread_means(self.net, rngs)

    def log_prob(self, z, context=None):
        check_event(type(self).__name__, z, self.event_shape)
        return Mixture.from_outputs(self.net(z, context)).log_density(z).sum(-1)

    def sample(self, key, sample_shape=(), context=None):
        shape = self.draw_shape(sample_shape, context)
        uniform_key, noise_key = jax.random.split(key)
        uniform = jax.random.uniform(uniform_key, shape)
        return self._sample(uniform, jax.random.normal(noise_key, shape), context)

    @jax.jit
    def _sample(self, uniform, noise, context):
        return self.net.generate(
            lambda y, uniform, noise: Mixture.from_outputs(y).draw(uniform, noise),
            (uniform, noise),
            context,
        )
