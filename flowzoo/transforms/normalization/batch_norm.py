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
    data set, 0 and 1 until `update_statistics` sets them.

    Data that pass the layer backwards, as in an `Inverse`, are normalised as well: with their mean
    m' and variance v', `m = −m' e^{−γ} √(v + ε)` and `v + ε = 1 / (v' + ε)` make the inverse
    `x = (z − m' − β) / √(v' + ε) · e^{−γ}`.

    In the mode `batch_statistics`, for training, m and v are those of the batch that the layer is
    given, in the direction that it is called in, and gradients flow through them, as published. The
    stored ones stay as they are, and forward and inverse are not each other's inverse.

    Sources: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", arXiv 1605.08803;
    Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation", arXiv
    1705.07057, for the statistics of the whole training set.

    Args:
      event_shape: shape of one `x`, `(D,)` or `(H, W, C)`.
      eps: ε, added to the variance.

    Attributes:
      mean, variance: m and v, `[event_shape[-1]]`.
      log_gamma, beta: γ and β, `[event_shape[-1]]`, trained, at first zero.
      batch_statistics: a mode, see `flowzoo.transforms.with_modes`.
      axis_name: a mode, the mapped axis over which statistics are averaged, or None.

    Raises:
      ValueError: if the event has no axis, or ε is not positive.
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
        return self.for_each_event(math.prod(self.event_shape[:-1]) * log_scale.sum(), x)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        mean, variance = self._statistics(x, inverse=False)
        log_scale = self._log_scale(variance)
        z = (x - mean) * jnp.exp(log_scale) + self.beta[...]
        return z, self._log_det(log_scale, x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        mean, variance = self._statistics(z, inverse=True)
        log_scale = self._log_scale(variance)
        x = (z - self.beta[...]) * jnp.exp(-log_scale) + mean
        return x, -self._log_det(log_scale, z)

    def _statistics(self, x: jax.Array, *, inverse: bool) -> tuple[jax.Array, jax.Array]:
        if self.batch_statistics:
            return self._normalising(x, inverse=inverse)
        return self.mean[...], self.variance[...]

    def _normalising(self, x: jax.Array, *, inverse: bool) -> tuple[jax.Array, jax.Array]:
        """The m and v under which the forward map, or the inverse, normalises `x`."""
        mean, variance = moments(x, self.axis_name)
        if not inverse:
            return mean, variance
        # What is stored is v, and v + ε must come back from it in single precision.
        precision = jnp.maximum(1 / (variance + self.eps), 1e-4 * self.eps)
        return -mean * jnp.exp(-self.log_gamma[...]) * jnp.sqrt(precision), precision - self.eps

    def update_statistics(self, x, context=None, *, inverse=False):
        (self.check_latent if inverse else self.check_event)(x)
        self.mean[...], self.variance[...] = self._normalising(x, inverse=inverse)
        return self.inverse(x) if inverse else self.forward(x)


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
