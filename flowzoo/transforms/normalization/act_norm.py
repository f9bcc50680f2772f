"""Activation normalization: a trained scale and shift that start from data."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.transforms.transform import Transform


class ActNorm(Transform):
    """`z = (x + b) e^s` in each coordinate of the last axis; `log_det = Σ s`.

    In an image `(H, W, C)` every pixel has the scale and shift of its channel. The training data
    that reach it at the start give them: each channel then has mean 0 and variance 1. From there on
    both are trained like any parameter, so that no batch has to be large.

    Args:
      event_shape: shape of one `x`, with at least one axis.

    Attributes:
      shift, log_scale: b and s, `[event_shape[-1]]`, at first zero.

    Raises:
      ValueError: if the event has no axis; when fitted, if a channel does not vary.

    Source: Kingma, Dhariwal, "Glow: generative flow with invertible 1×1 convolutions", arXiv
    1807.03039.
    """

    # More rows would move no channel's moments visibly.
    fit_rows = 2000

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = tuple(event_shape)
        if not self.event_shape:
            raise ValueError("ActNorm got event_shape (), expected at least one axis.")
        self.shift = nnx.Param(jnp.zeros(self.event_shape[-1]))
        self.log_scale = nnx.Param(jnp.zeros(self.event_shape[-1]))

    def fit(self, x, context=None):
        rows = np.asarray(x, np.float64).reshape(-1, self.event_shape[-1])
        scale = rows.std(0)
        if not np.all(scale > 0):
            raise ValueError(
                f"ActNorm got data of which {np.sum(scale == 0)} of {len(scale)} channels do not "
                "vary; leave out what is constant."
            )
        self.shift[...] = jnp.asarray(-rows.mean(0), self.shift.dtype)
        self.log_scale[...] = jnp.asarray(-np.log(scale), self.log_scale.dtype)

    def _log_det(self, x: jax.Array) -> jax.Array:
        return self.for_each_event(math.prod(self.event_shape[:-1]) * self.log_scale[...].sum(), x)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return (x + self.shift[...]) * jnp.exp(self.log_scale[...]), self._log_det(x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return z * jnp.exp(-self.log_scale[...]) - self.shift[...], -self._log_det(z)
