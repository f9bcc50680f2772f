"""Autoregressive mixtures of Gaussians: `p(x_i | x_0 … x_{i−1}, c) = Σ_k π_k N(x_i; μ_k, σ_k²)`."""

import functools
import math
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.masked_mlp import MaskedMLP
from flowzoo.transforms.masked_autoregressive import Autoregressive, bounded_log_scale
from flowzoo.transforms.monotone import invert_increasing

# log_ndtr is concave and increasing: Newton from the left of the root rises to it, and from
# −√(−2t) six steps reach double precision for every t <= log ½.
QUANTILE_STEPS = 6

# Below FAR the tail's asymptotic series has double precision; above it erfc does not underflow.
FAR = -12.0


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
        one = jnp.ones_like(x)
        lower, upper = self.log_tail(x, one), self.log_tail(x, -one)
        left = lower < upper
        z = normal_quantile(jnp.where(left, lower, upper))
        z = jnp.where(left, z, -z)
        return z, self.log_density(x) - log_normal_density(z)

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


class MixtureAutoregressive(Autoregressive):
    """`z_i = Φ⁻¹(F_i(x_i))`, F_i the mixture's distribution function given `x_0 … x_{i−1}` and c.

    `log_det = Σ log p(x_i | x_0 … x_{i−1}, c) − log φ(z_i)`. On a standard normal base this is the
    same density as `MixtureMADE`; use it where latents are wanted, as in the middle of a flow. The
    inverse solves each `F_i(x_i) = Φ(z_i)` by a safeguarded Newton iteration. All of it works on
    the logarithm of the smaller tail, and is accurate however far out.

    Args:
      dim: D.
      num_components: C.
      **options: those of `Autoregressive`.

    Raises:
      ValueError: if there is no component, or `Autoregressive` refuses an option.
    """

    def __init__(self, dim: int, *, num_components: int = 10, rngs: nnx.Rngs, **options):
        super().__init__(dim, num_outputs(num_components), rngs=rngs, **options)
        spread_means(self.net, rngs)

    def value_and_log_slope(self, x, y):
        return Mixture.from_outputs(y).gaussianize(x)

    def invert(self, z, y):
        return Mixture.from_outputs(y).degaussianize(z)


def num_outputs(num_components: int) -> int:
    """Outputs that a network needs for each coordinate's mixture."""
    if num_components < 1:
        raise ValueError(f"num_components is {num_components}, expected at least 1.")
    return 3 * num_components


def spread_means(net: MaskedMLP, rngs: nnx.Rngs) -> None:
    """Draws the components' first means from N(0, 1): equal ones would stay equal."""
    shape = (net.num_outputs // 3, net.dim)
    means = jax.random.normal(rngs.params(), shape)
    net.output_bias[...] = net.output_bias[...].at[shape[0] : 2 * shape[0]].set(means)


def log_normal_density(u: jax.Array) -> jax.Array:
    """`log φ(u)`."""
    return -0.5 * (u**2 + math.log(2 * math.pi))


def _tail_series(y: jax.Array) -> jax.Array:
    """`|y| Φ(y) / φ(y)` for `y <= FAR`, by its asymptotic series."""
    w = -1 / jnp.minimum(y, FAR) ** 2
    return functools.reduce(lambda total, k: 1 + k * w * total, range(29, 0, -2), jnp.ones_like(y))


@jax.custom_jvp
def log_ndtr(y: jax.Array) -> jax.Array:
    """`log Φ(y)`, accurate in both tails, and so is its derivative `φ(y) / Φ(y)`."""
    far = log_normal_density(y) - jnp.log(-jnp.minimum(y, FAR)) + jnp.log(_tail_series(y))
    left = jnp.log(0.5 * jax.scipy.special.erfc(-jnp.clip(y, FAR, 0) / math.sqrt(2)))
    right = jnp.log1p(-0.5 * jax.scipy.special.erfc(jnp.maximum(y, 0) / math.sqrt(2)))
    return jnp.where(y < FAR, far, jnp.where(y < 0, left, right))


def _log_ndtr_slope(y: jax.Array, value: jax.Array) -> jax.Array:
    near = jnp.exp(log_normal_density(jnp.maximum(y, FAR)) - jnp.where(y < FAR, 0, value))
    return jnp.where(y < FAR, -y / _tail_series(y), near)


@log_ndtr.defjvp
def _log_ndtr_jvp(primals, tangents):
    (y,), (dy,) = primals, tangents
    value = log_ndtr(y)
    return value, _log_ndtr_slope(y, value) * dy


def normal_quantile(t: jax.Array) -> jax.Array:
    """The `y <= 0` with `log Φ(y) = t`, for `t <= log ½`; first derivatives are exact."""
    fixed = jax.lax.stop_gradient(t)

    def improve(_, y):
        value = log_ndtr(y)
        return y + (fixed - value) / _log_ndtr_slope(y, value)

    y = jax.lax.fori_loop(0, QUANTILE_STEPS, improve, -jnp.sqrt(-2 * fixed))
    value = log_ndtr(y)
    return y + (t - value) / _log_ndtr_slope(y, value)
