"""Elementwise affine maps: fixed, of a context, and fitted to data."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.shapes import check_context, sum_event
from flowzoo.numerics.variables import Constant
from flowzoo.transforms.transform import Transform


class Affine(Transform):
    """`z = (x − shift) / scale` with fixed numbers; `log_det = −Σ log|scale|`.

    Args:
      event_shape: shape of one `x`.
      shift: broadcasts to `event_shape`.
      scale: broadcasts to `event_shape`, nowhere zero.

    Raises:
      ValueError: if `scale` holds a zero or a non-finite number.
    """

    def __init__(self, event_shape: tuple[int, ...], *, shift=0.0, scale=1.0):
        self.event_shape = tuple(event_shape)
        if not np.all(np.isfinite(scale)) or np.any(np.asarray(scale) == 0):
            raise ValueError(f"Affine got scale {scale}, expected finite numbers other than zero.")
        self.shift = Constant(jnp.broadcast_to(jnp.asarray(shift, jnp.float32), self.event_shape))
        self.scale = Constant(jnp.broadcast_to(jnp.asarray(scale, jnp.float32), self.event_shape))

    def _log_det(self, x: jax.Array) -> jax.Array:
        return self.for_each_event(-jnp.log(jnp.abs(self.scale[...])).sum(), x)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        z = (x - self.shift[...]) / self.scale[...]
        return z, self._log_det(z)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = z * self.scale[...] + self.shift[...]
        return x, -self._log_det(x)


class ConditionalAffine(Transform):
    """`z = (x − μ(c)) e^{−s(c)}` with μ and s linear in the context c; `log_det = −Σ s_i(c)`.

    For class labels, which come as one-hot vectors, each class has its own mean and scale. Starts
    at the identity.

    Args:
      event_shape: shape of one `x`.
      context_size: C.

    Attributes:
      mean, log_scale: `[C, *event_shape]`; s is bounded by 3, so that no scale overflows.
    """

    def __init__(self, event_shape: tuple[int, ...], *, context_size: int):
        if context_size < 1:
            raise ValueError(f"ConditionalAffine got context_size {context_size}, expected >= 1.")
        self.event_shape, self.context_size = tuple(event_shape), context_size
        self.mean = nnx.Param(jnp.zeros((context_size, *self.event_shape)))
        self.log_scale = nnx.Param(jnp.zeros((context_size, *self.event_shape)))

    def _mean_and_log_scale(self, context: jax.Array) -> tuple[jax.Array, jax.Array]:
        check_context(type(self).__name__, context, self.context_size)
        mean = jnp.tensordot(context, self.mean[...], 1)
        return mean, 3 * jnp.tanh(jnp.tensordot(context, self.log_scale[...], 1) / 3)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        mean, log_scale = self._mean_and_log_scale(context)
        z = (x - mean) * jnp.exp(-log_scale)
        return z, -sum_event(jnp.broadcast_to(log_scale, z.shape), len(self.event_shape))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        mean, log_scale = self._mean_and_log_scale(context)
        x = z * jnp.exp(log_scale) + mean
        return x, sum_event(jnp.broadcast_to(log_scale, x.shape), len(self.event_shape))


class Standardize(Transform):
    """`z = (x − μ) / σ` in each coordinate, fixed; `log_det = −Σ log σ_i`.

    The identity until `initialize` sets μ and σ from training data.

    Args:
      event_shape: shape of one `x`.

    Raises:
      ValueError: by `fit`, if a coordinate does not vary.
    """

    fit_rows = None

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = tuple(event_shape)
        self.mean = Constant(jnp.zeros(self.event_shape))
        self.scale = Constant(jnp.ones(self.event_shape))

    def fit(self, x, context=None):
        self.check_event(x)
        data, x = np.asarray(x), jnp.asarray(x)
        scale = np.std(data, 0, dtype=np.float64)
        if not np.all(scale > 0):
            raise ValueError(
                f"Standardize got data of which {np.sum(scale == 0)} coordinates do not vary; "
                "leave out constant columns."
            )
        self.mean[...] = jnp.asarray(np.mean(data, 0, dtype=np.float64), x.dtype)
        self.scale[...] = jnp.asarray(scale, x.dtype)

    def _log_det(self, x: jax.Array) -> jax.Array:
        return self.for_each_event(-jnp.log(self.scale[...]).sum(), x)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return (x - self.mean[...]) / self.scale[...], self._log_det(x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return z * self.scale[...] + self.mean[...], -self._log_det(z)
