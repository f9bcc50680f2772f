"""The standard normal: density, distribution function and quantiles on a logarithmic scale."""

import functools
import math

import jax
import jax.numpy as jnp

# Below FAR the tail's asymptotic series has double precision; above it erfc does not underflow.
FAR = -12.0


def log_normal_density(u: jax.Array) -> jax.Array:
    """`log φ(u)`."""
    return -0.5 * (u**2 + math.log(2 * math.pi))


# Of the asymptotic series, by powers of −(FAR / y)².
_TAIL = [math.prod(range(1, 2 * j, 2)) / FAR ** (2 * j) for j in range(16)]


def _tail_series(y: jax.Array) -> jax.Array:
    """`|y| Φ(y) / φ(y)` for `y <= FAR`, by its asymptotic series."""
    w = -((FAR / jnp.minimum(y, FAR)) ** 2)
    *others, last = _TAIL
    return functools.reduce(lambda total, c: c + w * total, others[::-1], jnp.full_like(w, last))


@jax.custom_jvp
def log_ndtr(y: jax.Array) -> jax.Array:
    """`log Φ(y)`, accurate in both tails, and so is its derivative `φ(y) / Φ(y)`."""
    return _log_ndtr(y, _tail_series(y))


def _log_ndtr(y: jax.Array, series: jax.Array) -> jax.Array:
    far = log_normal_density(y) - jnp.log(-jnp.minimum(y, FAR)) + jnp.log(series)
    left = jnp.log(0.5 * jax.scipy.special.erfc(-jnp.clip(y, FAR, 0) / math.sqrt(2)))
    right = jnp.log1p(-0.5 * jax.scipy.special.erfc(jnp.maximum(y, 0) / math.sqrt(2)))
    return jnp.where(y < FAR, far, jnp.where(y < 0, left, right))


def _log_ndtr_slope(y: jax.Array, value: jax.Array, series: jax.Array) -> jax.Array:
    near = jnp.exp(log_normal_density(jnp.maximum(y, FAR)) - jnp.where(y < FAR, 0, value))
    return jnp.where(y < FAR, -y / series, near)


@log_ndtr.defjvp
def _log_ndtr_jvp(primals, tangents):
    (y,), (dy,) = primals, tangents
    value = log_ndtr(y)
    return value, _log_ndtr_slope(y, value, _tail_series(y)) * dy


def log_hazard(y: jax.Array) -> jax.Array:
    """`log φ(y) / Φ(y)`, accurate in both tails."""
    near = jnp.maximum(y, FAR)
    far = jnp.log(-jnp.minimum(y, FAR)) - jnp.log(_tail_series(y))
    return jnp.where(y < FAR, far, log_normal_density(near) - log_ndtr(near))


def normal_quantile(log_lower: jax.Array, log_upper: jax.Array) -> jax.Array:
    """The y with `log Φ(y) = log_lower` and `log Φ(−y) = log_upper`.

    A probability is given with its complement, so that neither rounds to 0 or 1; what is solved is
    the equation of the smaller one. First derivatives are exact, along `p + (1 − p) = 1`.
    """
    left = log_lower < log_upper
    t = jnp.where(left, log_lower, log_upper)
    # A start that has the limits of y at t = log ½ and far out, and is off by 0.005 at most. From
    # there three Newton steps reach double precision; the last one carries the derivative.
    fixed = jax.lax.stop_gradient(t)
    below_half = jnp.maximum(-2 * fixed - 2 * math.log(2), 0)
    bend = 4 + (2 * math.pi - 4) * below_half / (below_half + 6)
    y = -jnp.sqrt(jnp.maximum(-2 * fixed - jnp.log(4 + bend * below_half), 0))
    for aim in (fixed, fixed, t):
        series = _tail_series(y)
        value = _log_ndtr(y, series)
        y = y + (aim - value) / _log_ndtr_slope(y, value, series)
    return jnp.where(left, y, -y)
