"""Divisive normalization: each coordinate's scale depends on the energies of those before it."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.transforms.transform import Transform

# Larger inputs change no scale further, so that squares stay finite.
LARGEST = 1e9


class DivisiveNormalization(Transform):
    """`z_i = x_i / v_i^{p_i}` with `v_i = (1 + Σ_{j<i} γ_ij x_j²) / (1 + Σ_{j<i} γ_ij)`.

    The Jacobian is lower triangular, `log_det = −Σ_i p_i log v_i`. γ = g² ≥ 0; the exponents p
    start at zero, hence the map at the identity. It takes out variances that depend on the
    neighbours' energies, as those of filtered natural images and of volatile time series do, which
    maps of one coordinate cannot; dense layers around it make the order of coordinates immaterial.
    The inverse goes through the coordinates one by one, at the cost of one forward pass in all.

    Args:
      dim: D.
      reverse: sum over j > i instead; the Jacobian is then upper triangular.

    Attributes:
      gain: g: `[D, D]`, of which the part below the diagonal counts (above it, if `reverse`).
      power: p: `[D]`.

    Source: Schwartz, Simoncelli, "Natural signal statistics and sensory gain control", Nature
    Neuroscience 2001; Ballé, Laparra, Simoncelli, "Density modeling of images using a generalized
    normalization transformation", arXiv 1511.06281, whose joint form has no closed-form inverse;
    Engle, "Autoregressive conditional heteroscedasticity", Econometrica 1982, for this order.
    """

    def __init__(self, dim: int, *, reverse: bool = False):
        self.event_shape, self.reverse = (dim,), bool(reverse)
        self.gain = nnx.Param(jnp.full((dim, dim), dim**-0.5))
        self.power = nnx.Param(jnp.zeros(dim))

    def _weights(self, dtype) -> tuple[jax.Array, jax.Array]:
        """γ `[D, D]` and `log(1 + Σ_j γ_ij)` `[D]`."""
        gain = self.gain[...].astype(dtype)
        weights = (jnp.triu(gain, 1) if self.reverse else jnp.tril(gain, -1)) ** 2
        return weights, jnp.log1p(weights.sum(1))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        weights, offset = self._weights(dtype)
        energy = jnp.clip(x.astype(dtype), -LARGEST, LARGEST) ** 2
        # A logarithm of one plus a number, which is exact near zero too, takes twice the time here.
        log_scale = -self.power[...].astype(dtype) * (jnp.log(1 + energy @ weights.T) - offset)
        z = x.astype(dtype) * jnp.exp(log_scale)
        return z.astype(x.dtype), log_scale.sum(-1).astype(x.dtype)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        dtype = jnp.promote_types(z.dtype, jnp.float32)
        weights, offset = self._weights(dtype)
        columns = jnp.moveaxis(z.astype(dtype), -1, 0)

        def step(total, row):
            i, z_i, power, offset_i, column = row
            log_scale = power * (jnp.log(1 + total[..., i]) - offset_i)
            x_i = z_i * jnp.exp(log_scale)
            energy = jnp.clip(x_i, -LARGEST, LARGEST) ** 2
            return total + energy[..., None] * column, (x_i, log_scale)

        rows = (jnp.arange(len(columns)), columns, self.power[...].astype(dtype), offset, weights.T)
        start = jnp.zeros(z.shape, dtype)
        _, (x, log_scale) = jax.lax.scan(step, start, rows, reverse=self.reverse)
        return jnp.moveaxis(x, 0, -1).astype(z.dtype), log_scale.sum(0).astype(z.dtype)
