"""Mixtures of Gaussians, one for each coordinate."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from flowzoo.numerics.mixture_tails import mixture_tails
from flowzoo.numerics.normal import log_hazard, log_ndtr, log_normal_density, normal_quantile
from flowzoo.numerics.root_finding import invert_increasing
from flowzoo.numerics.smooth import bounded_log_scale


class Mixture(NamedTuple):
    """`Σ_k π_k N(μ_k, σ_k²)` for each coordinate: `log π`, `μ` and `log σ`, each `[..., C, D]`."""

    log_weight: jax.Array
    mean: jax.Array
    log_scale: jax.Array

    @classmethod
    def from_outputs(cls, y: jax.Array) -> "Mixture":
        """The mixtures that outputs `y: [..., 3C, D]` of a network stand for."""
        logits, mean, log_scale = jnp.split(y, 3, axis=-2)
        return cls(jax.nn.log_softmax(logits, axis=-2), mean, bounded_log_scale(log_scale))

    def standardize(self, x: jax.Array) -> jax.Array:
        """`(x − μ_k) / σ_k: [..., C, D]` of `x: [..., D]`."""
        return (x[..., None, :] - self.mean) * jnp.exp(-self.log_scale)

    def log_density(self, x: jax.Array) -> jax.Array:
        """`log Σ_k π_k N(x; μ_k, σ_k²)`, `[..., D]`, in nats."""
        u = self.standardize(x)
        return jax.nn.logsumexp(self.log_weight - self.log_scale + log_normal_density(u), axis=-2)

    def log_tail(self, x: jax.Array, sign: jax.Array) -> jax.Array:
        """`log P(X <= x)` where the sign is 1, `log P(X >= x)` where it is −1, all `[..., D]`."""
        u = sign[..., None, :] * self.standardize(x)
        return jax.nn.logsumexp(self.log_weight + log_ndtr(u), axis=-2)

    def gaussianize(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`z = Φ⁻¹(F(x))` and `log dz/dx = log p(x) − log φ(z)`; F never rounds to 0 or 1."""
        parts = self.log_weight, self.log_scale, log_ndtr, log_hazard
        lower, upper, log_rate = mixture_tails(self.standardize(x), *parts, axis=-2)
        z = normal_quantile(lower, upper)
        return z, log_rate - log_hazard(-jnp.abs(z))

    def degaussianize(self, z: jax.Array) -> jax.Array:
        """`x = F⁻¹(Φ(z))` by a bracketed Newton iteration on the logarithm of the smaller tail."""
        sign = jnp.where(z > 0, -1, 1)

        def signed_log_tail(x):
            log_tail = self.log_tail(x, sign)
            slope = jnp.exp(self.log_density(x) - log_tail)
            return sign * log_tail, jnp.maximum(slope, jnp.finfo(slope.dtype).tiny)

        # Each quantile of a mixture lies between the least and the greatest of its components'.
        quantiles = self.mean + jnp.exp(self.log_scale) * z[..., None, :]
        lower, upper = quantiles.min(-2), quantiles.max(-2)
        margin = 1e-5 * (1 + jnp.maximum(jnp.abs(lower), jnp.abs(upper)))
        lower, upper = lower - margin, upper + margin
        target = sign * log_ndtr(sign * z)
        # Between far components F may be flat to rounding, and the last Newton step of any length.
        return jnp.clip(invert_increasing(signed_log_tail, target, lower, upper), lower, upper)

    def draw(self, uniform: jax.Array, noise: jax.Array) -> jax.Array:
        """Exact draws `[..., D]` from uniform and from standard normal numbers `[..., D]`."""
        below = jnp.cumsum(jnp.exp(self.log_weight), axis=-2)[..., :-1, :]
        k = (uniform[..., None, :] >= below).sum(-2, keepdims=True)
        mean, log_scale = (jnp.take_along_axis(a, k, -2)[..., 0, :] for a in self[1:])
        return mean + jnp.exp(log_scale) * noise
