"""The inverse of the softplus: positive numbers to the real line."""

import jax
import jax.numpy as jnp

from flowzoo.numerics.shapes import sum_event
from flowzoo.transforms.transform import Transform


class Softplus(Transform):
    """`x = log(1 + e^z)` for positive x, that is `z = x + log(1 − e^{−x})`;
    `log_det = −Σ log(1 − e^{−x})`.

    Far from zero it leaves numbers as they are, and near zero it takes their logarithm.

    Args:
      event_shape: shape of one `x`.
    """

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = tuple(event_shape)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        log_slope = -jnp.log(-jnp.expm1(-x))
        return x - log_slope, sum_event(log_slope, len(self.event_shape))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return jax.nn.softplus(z), sum_event(jax.nn.log_sigmoid(z), len(self.event_shape))
