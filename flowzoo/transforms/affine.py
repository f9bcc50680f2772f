"""Elementwise affine maps, and the logit of preprocessing."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.transforms.transform import Constant, Transform, sum_event


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
        batch_shape = x.shape[: x.ndim - len(self.event_shape)]
        log_det = -jnp.log(jnp.abs(self.scale[...])).sum()
        return jnp.broadcast_to(log_det, batch_shape).astype(jnp.result_type(x, log_det))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return (x - self.shift[...]) / self.scale[...], self._log_det(x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return z * self.scale[...] + self.shift[...], -self._log_det(z)


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


class Logit(Transform):
    """`z = logit(α + (1 − 2α) x)` for `x` in [0, 1]; the pixel preprocessing of density estimation.

    `log_det = Σ [log(1 − 2α) − log p − log(1 − p)]` with `p = α + (1 − 2α) x`. The inverse maps any
    real `z` to `((sigmoid(z) − α) / (1 − 2α))`, which leaves [0, 1] by at most `α / (1 − 2α)`.

    Source: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", arXiv 1605.08803.

    Raises:
      ValueError: unless 0 <= α < 1/2.
    """

    def __init__(self, event_shape: tuple[int, ...], *, alpha: float = 1e-6):
        if not 0 <= alpha < 0.5:
            raise ValueError(f"Logit got alpha {alpha}, expected 0 <= alpha < 0.5.")
        self.event_shape = tuple(event_shape)
        self.alpha = float(alpha)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        # Each tail is formed from its own small number: 1 − p would lose it to rounding near p = 1.
        log_p = jnp.log(self.alpha + (1 - 2 * self.alpha) * x)
        log_q = jnp.log(self.alpha + (1 - 2 * self.alpha) * (1 - x))
        log_det = jnp.log1p(-2 * self.alpha) - log_p - log_q
        return log_p - log_q, sum_event(log_det, len(self.event_shape))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = (jax.nn.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha)
        log_det = jax.nn.log_sigmoid(z) + jax.nn.log_sigmoid(-z) - jnp.log1p(-2 * self.alpha)
        return x, sum_event(log_det, len(self.event_shape))
