"""A flow on raw data: preprocessing and dequantization travel with the model."""

from collections.abc import Hashable
import functools
import warnings

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.bases.base import Base
from flowzoo.context import ContextSpec
from flowzoo.data.dataset import Dataset, dequantize
from flowzoo.flow import Flow
from flowzoo.numerics.shapes import as_shape, check_event
from flowzoo.transforms import with_modes
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

    Where raw data are float64, as NumPy's are, the preprocessing runs in float64 even where JAX has
    none, and samples come as NumPy arrays. Under `jax.jit` it runs in float32.

    Args:
      flow: a flow on preprocessed data.
      preprocessing: raw data, noise added, → the flow's events.
      levels: L if raw data are integers 0 … L − 1, None if they are real numbers.
      image_shape: `(H, W, C)` that an event is reshaped to for viewing, None if it is not an image.
      card: what is known about the model; see `flowzoo.pretrained.Card`.
      raw_dtype: in which real numbers come and go, by default float32.

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
        raw_dtype: str | None = None,
    ):
        self.flow, self.preprocessing = flow, preprocessing
        self.levels = levels
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.card = card
        self.raw_dtype = raw_dtype
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
          ValueError: if `x` has another shape, holds levels in a floating-point dtype, or a value
            that no level with its noise has.
        """
        # Numpy, because under jit even an operation on known values would be traced.
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        check_event(type(self).__name__, x, self.event_shape)
        is_integer = jnp.issubdtype(x.dtype, jnp.integer)
        if self.levels is None:
            return jnp.asarray(x, jnp.float32) if is_integer else jnp.asarray(x)
        if not isinstance(x, jax.core.Tracer) and x.size:
            self._check_levels(np.asarray(x), is_integer)
        if is_integer and x.size:
            key = jax.random.key(0) if key is None else key
            rows = jnp.asarray(x).reshape(-1, *self.event_shape)
            return dequantize(rows, key, jnp.arange(len(rows))).reshape(x.shape)
        return jnp.asarray(x, jnp.float32 if is_integer else None)

    def _check_levels(self, x: np.ndarray, is_integer: bool) -> None:
        name, low, high = type(self).__name__, x.min(), x.max()
        # Rounding in float32 may reach the end of the last level.
        last = self.levels - 1 if is_integer else self.levels
        if not (low >= 0 and high <= last):
            raise ValueError(
                f"{name} got values between {low} and {high}, expected "
                + (f"levels 0 … {last}." if is_integer else f"levels plus noise, in [0, {last}].")
            )
        if is_integer:
            return
        if np.all(np.mod(x, 1) == 0):
            raise ValueError(
                f"{name} got levels as {x.dtype}, expected integers, which get noise in [0, 1) "
                "added: convert them with x.astype(int), or add noise yourself."
            )
        if self.levels > 2 and high <= 1:
            warnings.warn(
                f"{name} got values between {low:.3g} and {high:.3g}, as of images scaled to "
                f"[0, 1], but its events are levels 0 … {self.levels - 1} plus noise in [0, 1): "
                "for pixels pass integers. The density is one of other numbers than you may mean.",
                stacklevel=4,
            )

    def _in_double(self, *arrays) -> bool:
        """Whether to run the preprocessing in float64, which needs values that are known."""
        leaves = jax.tree.leaves((self.preprocessing, arrays))
        return self.raw_dtype == "float64" and not any(
            isinstance(leaf, jax.core.Tracer) for leaf in leaves
        )

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
        if not self._in_double(x):
            return self._whole().log_prob(self.to_real(x, key), context)
        x = np.asarray(x, np.float64)
        check_event(type(self).__name__, x, self.event_shape)
        with jax.enable_x64(True):
            z, log_det = map(np.asarray, _forward(self.preprocessing, x))
        return self.flow.log_prob(z.astype(np.float32), context) + log_det.astype(np.float32)

    def sample(
        self,
        key: jax.Array,
        sample_shape: tuple[int, ...] = (),
        context=None,
        *,
        noise_std: float = 0.0,
    ) -> jax.Array:
        """Draws raw events `[*sample_shape, *context_batch, *event_shape]`.

        `noise_std` is that of the Gaussian noise of the flow's training, `config.noise_std`: it is
        taken out of the draws by `Flow.denoise`, in model space.

        Levels come as uint8, or as int32 if there are more than 256 of them. Where networks
        extrapolate, affine couplings amplify a number to 1e10 now and then, and its neighbours
        follow. Levels have a range: what affine couplings and autoregressive layers compute is kept
        within 1.5 times that range in model space. `sample_and_log_prob` draws without that.
        """
        self.flow.encode_context(context)
        shape = as_shape(sample_shape)
        if not self._in_double(key):
            bound = None if self.levels is None else _reach(self.preprocessing, self.levels)
            return _sample(
                self.flow, self.preprocessing, key, shape, context, self.levels, bound, noise_std
            )
        return self._raw(_sample(self.flow, None, key, shape, context, noise_std=noise_std))[0]

    def sample_and_log_prob(
        self, key: jax.Array, sample_shape: tuple[int, ...] = (), context=None
    ) -> tuple[jax.Array, jax.Array]:
        """Draws real numbers, levels with their noise, and returns them with their log-density."""
        self.flow.encode_context(context)
        if not self._in_double(key):
            return self._whole().sample_and_log_prob(key, sample_shape, context)
        z, log_prob = self.flow.sample_and_log_prob(key, sample_shape, context)
        x, log_det = self._raw(z)
        return x, log_prob - log_det.astype(np.float32)

    def _raw(self, z: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            return tuple(map(np.asarray, _inverse(self.preprocessing, np.asarray(z, np.float64))))


# One program each: outside of jit, a first call would wait for the compilation of every operation.
@functools.partial(jax.jit, static_argnames=("sample_shape", "levels", "bound", "noise_std"))
def _sample(
    flow: Flow,
    preprocessing: Transform | None,
    key: jax.Array,
    sample_shape: tuple[int, ...],
    context,
    levels: int | None = None,
    bound: float | None = None,
    noise_std: float = 0.0,
):
    bounded = flow if bound is None else with_modes(flow, inverse_bound=bound)
    x = bounded.sample(key, sample_shape, context)
    if noise_std:
        x = flow.denoise(x, noise_std, context)
    if preprocessing is not None:
        x = preprocessing.inverse(x)
    if levels is None:
        return x
    return jnp.clip(jnp.floor(x), 0, levels - 1).astype(jnp.uint8 if levels <= 256 else jnp.int32)


@jax.jit
def _forward(preprocessing: Transform, x: jax.Array):
    return preprocessing.forward_and_log_det(x)


@jax.jit
def _inverse(preprocessing: Transform, z: jax.Array):
    return preprocessing.inverse_and_log_det(z)


def _reach(preprocessing: Transform, levels: int) -> float | None:
    """1.5 times the largest number that a level becomes, None if it has no bound or is traced."""
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(preprocessing)):
        return None
    ends = np.stack([np.full(preprocessing.event_shape, end, np.float32) for end in (0, levels)])
    reach = 1.5 * float(np.abs(_forward(preprocessing, ends)[0]).max())
    return reach if np.isfinite(reach) else None


def on_raw_data(flow: Flow, dataset: Dataset) -> RawFlow:
    """The flow of a dataset on the data as they came.

    Args:
      flow: in the dataset's model space.
      dataset: what it was trained on; if it does not know the number of its levels, they go up to
        the highest in the training split.
    """
    levels, preprocessing = dataset.levels, dataset.preprocessing
    if dataset.dequantize and levels is None:
        levels = int(dataset.train.x.max()) + 1
    if dataset.units is not None:
        preprocessing = Chain([dataset.units, preprocessing])
    return RawFlow(
        flow,
        preprocessing,
        levels=levels,
        image_shape=dataset.image_shape,
        raw_dtype=dataset.raw_dtype,
    )
