"""Stick breaking: the simplex to the real numbers."""

import jax
import jax.numpy as jnp

from flowzoo.transforms.transform import Transform


class StickBreaking(Transform):
    """`z_i = log x_i − log r_{i+1} + log(D − i)`, `r_i = 1 − x_0 − … − x_{i−1}`, for positive x of
    sum below one; `log_det = −Σ log x_i − log r_D`.

    An event is D of the D + 1 parts of a whole, the last part r_D being what is left, so that the
    density is one over D numbers. Equal parts become z = 0.

    Source: Betancourt, "Cruising the simplex: Hamiltonian Monte Carlo and the Dirichlet
    distribution", arXiv 1010.3436; the Stan reference manual, "Unit simplex".

    Args:
      dim: D.
    """

    def __init__(self, dim: int):
        self.event_shape = (dim,)

    def _offsets(self, dtype) -> jax.Array:
        return jnp.log(jnp.arange(self.event_shape[0], 0, -1, dtype=dtype))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        # What is left of a whole that rounding has used up.
        rest = jnp.maximum(1 - jnp.cumsum(x, -1), jnp.finfo(x.dtype).tiny)
        log_x, log_rest = jnp.log(x), jnp.log(rest)
        return log_x - log_rest + self._offsets(x.dtype), -log_x.sum(-1) - log_rest[..., -1]

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        z = z - self._offsets(z.dtype)
        log_rest = jnp.cumsum(jax.nn.log_sigmoid(-z), -1)
        before = jnp.pad(log_rest[..., :-1], [(0, 0)] * (z.ndim - 1) + [(1, 0)])
        log_x = jax.nn.log_sigmoid(z) + before
        return jnp.exp(log_x), log_x.sum(-1) + log_rest[..., -1]
