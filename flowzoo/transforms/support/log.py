"""The logarithm: the positive numbers to the real line."""

import jax.numpy as jnp

from flowzoo.numerics.shapes import sum_event
from flowzoo.transforms.transform import Transform


class Log(Transform):
    """`z = log x` for positive `x`; `log_det = −Σ log x_i`.

    Args:
      event_shape: shape of one `x`.
    """

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = tuple(event_shape)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        z = jnp.log(x)
        return z, -sum_event(z, len(self.event_shape))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return jnp.exp(z), sum_event(z, len(self.event_shape))
