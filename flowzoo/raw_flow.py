"""A flow on raw data: preprocessing and dequantization travel with the model."""

from collections.abc import Hashable
import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.bases.base import Base
from flowzoo.context import ContextSpec
from flowzoo.data.dataset import Dataset, dequantize
from flowzoo.flow import Flow
from flowzoo.numerics.shapes import check_event
from flowzoo.transforms.transform import Chain, Transform


class RawFlow(nnx.Module):
    """`log p(x) = log p_flow(f(x)) + log|det ∂f/∂x|`: a flow seen through a preprocessing f.

    It is used like a `Flow`, and is a JAX pytree like one, but its events are the data as they
    come: pixels, or features in their own units. Published numbers of image sets live in the space
    of the attribute `flow`, after the preprocessing.

    Where raw data are integer levels, such as pixels, the flow is a density of the level plus noise
    `u ~ U[0, 1)`. `log_prob` adds that noise to arrays of an integer dtype, and takes arrays of a
    floating-point dtype as sums of level and noise, in which it can be differentiated; `sample`
    rounds down to levels.

    Args:
      flow: a flow on preprocessed data.
      preprocessing: raw data, noise added, → the flow's events.
      levels: L if raw data are integers 0 … L − 1, None if they are real numbers.
      image_shape: `(H, W, C)` that an event is reshaped to for viewing, None if it is not an image.
      card: what is known about the model; see `flowzoo.pretrained.Card`.

    Raises:
      ValueError: if the preprocessing does not end where the flow begins.
    """

    def __init__(
        self,
        flow: Flow,
        preprocessing: Transform,
        *,
        levels: int | None = None,
        image_shape: tuple[int, int, int] | None = None,
        card: Hashable = None,
    ):
        self.flow, self.preprocessing = flow, preprocessing
        self.levels = levels
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.card = card
        self._whole()

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one raw `x`, without batch axes."""
        return self.preprocessing.event_shape

    @property
    def context(self) -> ContextSpec | None:
        """What the flow is conditioned on, None for an unconditional flow."""
        return self.flow.context

    @property
    def base(self) -> Base:
        """The distribution of the latents."""
        return self.flow.base

    @property
    def transform(self) -> Transform:
        """Raw data, noise added, → latents."""
        return Chain([self.preprocessing, self.flow.transform])

    def _whole(self) -> Flow:
        return Flow(self.base, self.transform, self.context)

    def to_real(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Adds noise to integer levels; floating-point arrays come back as they are.

        Args:
          x: `[..., *event_shape]`.
          key: of the noise, by default `jax.random.key(0)`. The noise of an event follows from the
            key and the place of the event in `x`.

        Raises:
          ValueError: if `x` has another shape, or holds levels in a floating-point dtype.
        """
        # Numpy, because under jit even an operation on known values would be traced.
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        check_event(type(self).__name__, x, self.event_shape)
        is_integer = jnp.issubdtype(x.dtype, jnp.integer)
        if self.levels is None:
            return jnp.asarray(x, jnp.float32) if is_integer else jnp.asarray(x)
        if is_integer:
            key = jax.random.key(0) if key is None else key
            rows = jnp.asarray(x).reshape(-1, *self.event_shape)
            return dequantize(rows, key, jnp.arange(len(rows))).reshape(x.shape)
        if not isinstance(x, jax.core.Tracer) and x.size and np.all(np.mod(x, 1) == 0):
            raise ValueError(
                f"{type(self).__name__} got levels as {x.dtype}, expected integers, which get "
                "noise in [0, 1) added: convert them with x.astype(int), or add noise yourself."
            )
        return jnp.asarray(x)

    def log_prob(self, x: jax.Array, context=None, *, key: jax.Array | None = None) -> jax.Array:
        """Log-density of each raw event in nats; for levels, of the level plus noise.

        Args:
          x: `[..., *event_shape]`, raw.
          context: as for `Flow.log_prob`.
          key: of the noise, see `to_real`.

        Returns:
          `[...]`.

        Raises:
          ValueError: as `to_real` and `Flow.log_prob` do.
        """
        self.flow.encode_context(context)
        return _log_prob(self._whole(), self.to_real(x, key), context)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = (), context=None) -> jax.Array:
        """Draws raw events `[*sample_shape, *context_batch, *event_shape]`.

        Levels come as uint8, or as int32 if there are more than 256 of them.
        """
        self.flow.encode_context(context)
        return _sample(self._whole(), key, tuple(sample_shape), context, self.levels)

    def sample_and_log_prob(
        self, key: jax.Array, sample_shape: tuple[int, ...] = (), context=None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws real numbers, levels with their noise, and returns them with their log-density."""
        self.flow.encode_context(context)
        return _sample_and_log_prob(self._whole(), key, tuple(sample_shape), context)


# One program each: outside of jit, a first call would wait for the compilation of every operation.
@jax.jit
def _log_prob(flow: Flow, x: jax.Array, context) -> jax.Array:
    return flow.log_prob(x, context)


@functools.partial(jax.jit, static_argnames=("sample_shape", "levels"))
def _sample(flow: Flow, key: jax.Array, sample_shape: tuple[int, ...], context, levels: int | None):
    x = flow.sample(key, sample_shape, context)
    if levels is None:
        return x
    return jnp.clip(jnp.floor(x), 0, levels - 1).astype(jnp.uint8 if levels <= 256 else jnp.int32)


@functools.partial(jax.jit, static_argnames="sample_shape")
def _sample_and_log_prob(flow: Flow, key: jax.Array, sample_shape: tuple[int, ...], context):
    return flow.sample_and_log_prob(key, sample_shape, context)


def on_raw_data(flow: Flow, dataset: Dataset, levels: int | None = None) -> RawFlow:
    """The flow of a dataset on that dataset's raw data.

    Args:
      flow: in the dataset's model space.
      dataset: what it was trained on.
      levels: of integer data, by default up to the highest level in the training split.
    """
    if dataset.dequantize and levels is None:
        levels = int(dataset.train.x.max()) + 1
    return RawFlow(flow, dataset.preprocessing, levels=levels, image_shape=dataset.image_shape)
