"""Maps of unconstrained numbers into bounded ones."""

import math

import jax
import jax.numpy as jnp
import numpy as np

MIN_SLOPE = 1e-3


@jax.custom_jvp
def sigmoid_and_softplus(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`1 / (1 + e^{−x})` and its integral `log(1 + e^x)`.

    Both and all their derivatives come from one exponential, where autodiff of the functions in
    `jax.nn` takes three.
    """
    e = jnp.exp(-jnp.abs(x))
    r = 1 / (1 + e)
    return jnp.where(x >= 0, r, e * r), jnp.maximum(x, 0) + jnp.log1p(e)


@sigmoid_and_softplus.defjvp
def _sigmoid_and_softplus_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    sigmoid, softplus = sigmoid_and_softplus(x)
    return (sigmoid, softplus), (sigmoid * (1 - sigmoid) * dx, sigmoid * dx)


def positive(raw: jax.Array) -> jax.Array:
    """Maps real parameters to numbers above `MIN_SLOPE`, zero to one."""
    return MIN_SLOPE + (1 - MIN_SLOPE) * jax.nn.softplus(raw + math.log(math.expm1(1)))


def inverse_positive(value: np.ndarray) -> np.ndarray:
    """The numbers of which `positive` makes the given ones, at least `2 MIN_SLOPE` each."""
    softplus = np.maximum(value - MIN_SLOPE, MIN_SLOPE) / (1 - MIN_SLOPE)
    return softplus + np.log(-np.expm1(-softplus)) - np.log(np.expm1(1))


# exp(±7) ≈ 1,100 either way for one layer: no density of standardised data needs more. A stack of
# layers can still overflow in float32: shifts are not bounded, and thirteen factors exceed 3e38.
LOG_SCALE_BOUND = 7.0


def bounded_log_scale(a: jax.Array) -> jax.Array:
    """A smooth map of the real line into ±`LOG_SCALE_BOUND`, the identity near zero."""
    return LOG_SCALE_BOUND * jnp.tanh(a / LOG_SCALE_BOUND)


def clipped(a: jax.Array, bound: float | None) -> jax.Array:
    """`a` clipped to ±bound, or as it is if there is no bound."""
    return a if bound is None else jnp.clip(a, -bound, bound)


def tamed(a: jax.Array, bound: float | None) -> jax.Array:
    """`a` within ±bound, `±bound (1 + log(|a| / bound))` beyond; None is no bound."""
    if bound is None:
        return a
    size = jnp.maximum(jnp.abs(a), bound)
    return jnp.where(size > bound, jnp.sign(a) * bound * (1 + jnp.log(size / bound)), a)


def check_bound(name: str, bound: float | None) -> None:
    """Raises ValueError unless `bound` is positive or None."""
    if bound is not None and not bound > 0:
        raise ValueError(f"{name} got input_bound {bound}, expected a positive number or None.")
