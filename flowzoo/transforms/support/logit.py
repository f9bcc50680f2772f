"""The logit: the unit interval to the real line."""

import jax
import jax.numpy as jnp

from flowzoo.numerics.shapes import sum_event
from flowzoo.transforms.transform import Transform


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
