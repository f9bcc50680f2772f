"""The interface of base distributions. Log-densities are in nats."""

from abc import abstractmethod

from flax import nnx
import jax


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

    def update_statistics(self, z: jax.Array, context: jax.Array | None = None) -> None:
        """Sets what follows from the latents of a whole data set, in place; by default nothing.

        Args:
          z: `[N, *event_shape]`.
          context: `[N, C]`, encoded, or None.
        """

    def draw_shape(self, sample_shape: tuple[int, ...], context: jax.Array | None):
        """The shape of a draw: samples first, then one event for each context."""
        batch_shape = () if context is None else context.shape[:-1]
        return tuple(sample_shape) + batch_shape + self.event_shape
