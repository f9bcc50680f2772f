"""The standard normal: density, distribution function and quantiles on a logarithmic scale."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

# log_ndtr is concave and increasing: Newton from the left of the root rises to it, and from
# −√(−2t) six steps reach double precision for every t <= log ½.
QUANTILE_STEPS = 6


# Below FAR the tail's asymptotic series has double precision; above it erfc does not underflow.
FAR = -12.0


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


NEWTON_STEPS = 3


def normal_score(log_cdf: jax.Array, log_survival: jax.Array) -> jax.Array:
    """The standard normal's quantile of a probability p given as `log p` and `log (1 − p)`.

    Accurate in both tails, where p or 1 − p would round to zero; differentiable in both arguments
    together, that is along `p + (1 − p) = 1`.
    """
    lower = log_cdf < log_survival
    t = jnp.where(lower, log_cdf, log_survival)
    near = -ndtri(jnp.exp(jnp.maximum(t, -6.0)))
    s = jnp.maximum(-2 * t - math.log(2 * math.pi), 1.0)
    far = jnp.sqrt(jnp.maximum(s - jnp.log(s), 0))
    # The distance a of the quantile from zero solves log Φ(−a) = t.
    a = jax.lax.stop_gradient(jnp.where(t > -6, near, far))
    for _ in range(NEWTON_STEPS):
        log_tail = log_ndtr(-a)
        slope = jnp.exp(-0.5 * a * a - 0.5 * math.log(2 * math.pi) - log_tail)
        a = jax.lax.stop_gradient(a + (log_tail - jax.lax.stop_gradient(t)) / slope)
    # One more step, for its derivative alone.
    log_tail = log_ndtr(-a)
    slope = jnp.exp(-0.5 * a * a - 0.5 * math.log(2 * math.pi) - log_tail)
    a = a - (t - jax.lax.stop_gradient(t)) / jax.lax.stop_gradient(slope)
    return jnp.where(lower, -a, a)
