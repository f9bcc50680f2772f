"""Batch normalization as a flow layer."""

import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.transforms.transform import Transform


class BatchNorm(Transform):
    """`z = (x − m) / √(v + ε) · e^γ + β`; `log_det = Σ γ − ½ log(v + ε)`.

    m and v are the mean and the (biased) variance of each coordinate of the last axis; in an image
    `(H, W, C)` every pixel counts towards the statistics of its channel. They are those of a whole
    data set, 0 and 1 until `update_statistics` sets them, except in a copy that
    `with_batch_statistics` has made for training.

    Sources: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", arXiv 1605.08803;
    Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation", arXiv
    1705.07057, for the statistics of the whole training set.

    Args:
      event_shape: shape of one `x`, `(D,)` or `(H, W, C)`.
      eps: ε, added to the variance.

    Attributes:
      mean, variance: m and v, `[event_shape[-1]]`.
      log_gamma, beta: γ and β, `[event_shape[-1]]`, trained, at first zero.
      batch_statistics: whether `forward` uses the statistics of the batch it is given.
      axis_name: the mapped axis over which statistics are averaged, or None.

    Raises:
      ValueError: if the event has no axis, ε is not positive, or the inverse is asked of a copy
        that uses batch statistics.
    """

    def __init__(self, event_shape: tuple[int, ...], *, eps: float = 1e-5):
        self.event_shape = tuple(event_shape)
        if not self.event_shape:
            raise ValueError("BatchNorm got event_shape (), expected at least one axis.")
        if not eps > 0:
            raise ValueError(f"BatchNorm got eps {eps}, expected a positive number.")
        size = self.event_shape[-1]
        self.mean = nnx.BatchStat(jnp.zeros(size))
        self.variance = nnx.BatchStat(jnp.ones(size))
        self.log_gamma = nnx.Param(jnp.zeros(size))
        self.beta = nnx.Param(jnp.zeros(size))
        self.eps = float(eps)
        self.batch_statistics = False
        self.axis_name = None

    def _log_scale(self, variance: jax.Array) -> jax.Array:
        return self.log_gamma[...] - 0.5 * jnp.log(variance + self.eps)

    def _log_det(self, log_scale: jax.Array, x: jax.Array) -> jax.Array:
        batch_shape = x.shape[: x.ndim - len(self.event_shape)]
        log_det = math.prod(self.event_shape[:-1]) * log_scale.sum()
        return jnp.broadcast_to(log_det, batch_shape).astype(x.dtype)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        if self.batch_statistics:
            mean, variance = moments(x, self.axis_name)
        else:
            mean, variance = self.mean[...], self.variance[...]
        log_scale = self._log_scale(variance)
        z = (x - mean) * jnp.exp(log_scale) + self.beta[...]
        return z, self._log_det(log_scale, x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        if self.batch_statistics:
            raise ValueError(
                "BatchNorm has no inverse while it uses the statistics of the batch, which only "
                "the forward direction sees; invert the model that with_batch_statistics copied."
            )
        log_scale = self._log_scale(self.variance[...])
        x = (z - self.beta[...]) * jnp.exp(-log_scale) + self.mean[...]
        return x, -self._log_det(log_scale, z)

    @property
    def has_statistics(self) -> bool:
        return True

    def update_statistics(self, x, context=None):
        self.check_event(x)
        self.mean[...], self.variance[...] = moments(x, self.axis_name)
        return self.forward(x)


def moments(x: jax.Array, axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance over all axes but the last.

    Args:
      x: `[..., D]`.
      axis_name: a mapped axis (of `jax.pmap`, `jax.shard_map` or `jax.vmap`) whose members hold
        equally many rows each; the moments are those of all their rows together.

    Returns:
      `mean: [D]` and `variance: [D]`.
    """

    def average(a):
        a = a.mean(tuple(range(a.ndim - 1)))
        return a if axis_name is None else jax.lax.pmean(a, axis_name)

    mean = average(x)
    return mean, average(jnp.square(x - mean))


def with_batch_statistics(module, axis_name: str | None = None):
    """A copy of `module` whose `BatchNorm` layers use the statistics of the batch they are given.

    For training: gradients flow through the statistics, as published. The copy's stored statistics
    stay as they are, and it cannot be inverted.

    Args:
      module: a flow or a transform.
      axis_name: the mapped axis that a batch is spread over, None if it lies on one device.
    """
    module = nnx.clone(module)
    for _, layer in nnx.iter_modules(module):
        if isinstance(layer, BatchNorm):
            layer.batch_statistics = True
            layer.axis_name = axis_name
    return module
