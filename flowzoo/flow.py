"""A flow: a base distribution seen through an invertible transform."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.bases.base import Base
from flowzoo.context import ContextSpec
from flowzoo.numerics.shapes import as_shape, batch_shape, check_event
from flowzoo.transforms.transform import Transform, initialize_thinning, rows_used


class Flow(nnx.Module):
    """The density `log p(x) = log p_base(f(x)) + log|det ∂f/∂x|`; forward `f` is data → latent.

    A flow is a JAX pytree: it passes through `jax.jit`, `jax.vmap` and `nnx.grad` like an array.

    Args:
      base: distribution of the latents.
      transform: the invertible map `f`.
      context: what the flow is conditioned on, None for an unconditional flow.

    Attributes:
      recipe: what `flowzoo.build` was given, as JSON, by which a file of the flow can say how to
        build it again; None for a flow that was put together by hand.

    Raises:
      ValueError: if the base and the transform disagree on the shape of a latent.

    Example:
      >>> import jax
      >>> from flax import nnx
      >>> import flowzoo
      >>> from flowzoo import bases, transforms
      >>> dense = transforms.Dense(2, rngs=nnx.Rngs(0))
      >>> flow = flowzoo.Flow(bases.StandardNormal((2,)), dense)
      >>> x = flow.sample(jax.random.key(1), (5,))
      >>> flow.log_prob(x).shape
      (5,)
    """

    def __init__(self, base: Base, transform: Transform, context: ContextSpec | None = None):
        if base.event_shape != transform.latent_shape:
            raise ValueError(
                f"Flow got a base over events of shape {base.event_shape} and a transform whose "
                f"latents have shape {transform.latent_shape}, expected the same."
            )
        self.base = base
        self.transform = transform
        self.context = context
        self.recipe: str | None = None

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one `x`, without batch axes."""
        return self.transform.event_shape

    def encode_context(self, context) -> jax.Array | None:
        """Checks a raw context and encodes it as real numbers `[..., C]`.

        Raises:
          ValueError: if a context is missing, unwanted, or of the wrong type, width or range.
        """
        if self.context is None:
            if context is not None:
                raise ValueError(
                    "This flow is unconditional and takes no context; leave the argument out, or "
                    "build the flow with a context to condition it."
                )
            return None
        if context is None:
            raise ValueError(f"This flow is conditioned on {self.context}; pass context=.")
        return self.context.encode(context)

    @property
    def starts_from_data(self) -> bool:
        """Whether `initialize` has anything to set."""
        return rows_used(self.transform) != 0

    def initialize(self, x: jax.Array, context=None) -> None:
        """Sets what starts from data (`init="whiten"`, say) in place; does nothing otherwise.

        Args:
          x: `[N, *event_shape]`, training data.
          context: labels `[N]` or features `[N, C]`, as for `log_prob`.
        """
        if self.starts_from_data:
            initialize_thinning(self.transform, jnp.asarray(x), self.encode_context(context))

    def update_statistics(self, x: jax.Array, context=None) -> None:
        """Sets the statistics of a whole data set in place: those of batch normalization, and of a
        base that follows its latents; else does nothing.

        Args:
          x: `[N, *event_shape]`, training data.
          context: labels `[N]` or features `[N, C]`, as for `log_prob`.
        """
        if jax.tree.leaves(nnx.state(self, nnx.BatchStat)):
            context = self.encode_context(context)
            z = self.transform.update_statistics(jnp.asarray(x), context)
            self.base.update_statistics(z, context)

    def log_prob(self, x: jax.Array, context=None) -> jax.Array:
        """Log-density of each event in nats.

        Args:
          x: `[..., *event_shape]`, floating point.
          context: labels `[...]` or features `[..., C]`, their batch axes broadcast against those
            of `x`.

        Returns:
          `[...]`.

        Raises:
          ValueError: if `x` has another shape or is not floating point, or the context is not what
            the flow was built for or its batch axes do not fit those of `x`.
        """
        x = jnp.asarray(x)
        check_event("log_prob", x, self.event_shape)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(
                f"log_prob got dtype {x.dtype}, expected floating point; integer data are turned "
                "into real numbers by dequantization first."
            )
        context = self.encode_context(context)
        shape = batch_shape(x, self.event_shape)
        if context is not None:
            try:
                shape = np.broadcast_shapes(shape, context.shape[:-1])
            except ValueError:
                raise ValueError(
                    f"log_prob got contexts of batch shape {context.shape[:-1]} and events of "
                    f"batch shape {shape}, expected shapes that broadcast: one context for "
                    "each event, or one for all."
                ) from None
        if 0 in shape:
            return jnp.zeros(shape, x.dtype)
        return _log_prob(self.base, self.transform, x, context)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = (), context=None) -> jax.Array:
        """Draws `[*sample_shape, *context_batch, *event_shape]`: one event per context.

        Args:
          key: a JAX random key.
          sample_shape: how many independent draws for each context; a number alone is one axis.
          context: labels `[...]` or features `[..., C]`.

        Raises:
          ValueError: if the shape is none, or the context is not what the flow was built for.
        """
        self._refuse_batch_statistics()
        shape, context = as_shape(sample_shape), self.encode_context(context)
        if 0 in (batch_shape := _batch_shape(shape, context)):
            return jnp.zeros((*batch_shape, *self.event_shape))
        return _sample(self.base, self.transform, key, shape, context)

    def sample_and_log_prob(
        self, key: jax.Array, sample_shape: tuple[int, ...] = (), context=None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws as `sample` does, and returns the draws with their log-density in nats."""
        self._refuse_batch_statistics()
        shape, context = as_shape(sample_shape), self.encode_context(context)
        if 0 in (batch_shape := _batch_shape(shape, context)):
            return jnp.zeros((*batch_shape, *self.event_shape)), jnp.zeros(batch_shape)
        return _sample_and_log_prob(self.base, self.transform, key, shape, context)

    def denoise(self, x: jax.Array, noise_std: float, context=None) -> jax.Array:
        """`x + σ² ∇_x log p(x)`: what is expected of data of which `x` is seen with noise of std σ.

        For samples of a flow that was trained with such noise, `config.noise_std`; its density is
        that of noisy data, of which the noise is taken out by Tweedie's formula.

        Args:
          x: `[..., *event_shape]`, floating point.
          noise_std: σ, in the units of x.
          context: as for `log_prob`.

        Raises:
          ValueError: as `log_prob` does.

        Source: Zhai et al., "Normalizing flows are capable generative models", arXiv 2412.06329.
        """
        x = jnp.asarray(x)
        shape = jax.eval_shape(lambda x: self.log_prob(x, context), x).shape
        x = jnp.broadcast_to(x, shape + self.event_shape)
        score = jax.grad(lambda x: self.log_prob(x, context).sum())(x)
        return x + noise_std**2 * score

    def _refuse_batch_statistics(self) -> None:
        if any(getattr(m, "batch_statistics", False) for _, m in nnx.iter_modules(self.transform)):
            raise ValueError(
                "This copy of a flow normalises by batches of data, for training, and its samples "
                "would not be the flow's: sample from the flow that with_modes copied."
            )


# Compiled as a whole: outside of `jax.jit` each operation of a flow would be sent off by itself.
@jax.jit
def _log_prob(base, transform, x, context):
    z, log_det = transform.forward_and_log_det(x, context)
    return base.log_prob(z, context) + log_det


@functools.partial(jax.jit, static_argnums=3)
def _sample(base, transform, key, shape, context):
    return transform.inverse(base.sample(key, shape, context), context)


@functools.partial(jax.jit, static_argnums=3)
def _sample_and_log_prob(base, transform, key, shape, context):
    z = base.sample(key, shape, context)
    x, log_det = transform.inverse_and_log_det(z, context)
    return x, base.log_prob(z, context) - log_det


# Transforms need not think of batches without an event.
def _batch_shape(sample_shape: tuple[int, ...], context: jax.Array | None) -> tuple[int, ...]:
    return sample_shape + (() if context is None else context.shape[:-1])
