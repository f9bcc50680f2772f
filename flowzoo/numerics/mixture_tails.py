"""Both tails of a mixture, and how fast the smaller one changes, without cancellation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Tails(NamedTuple):
    """What a mixture is at x.

    Attributes:
      lower, upper: `log P(X <= x)` and `log P(X >= x)`.
      log_rate: the logarithm of the density over the smaller of the two probabilities.
    """

    lower: jax.Array
    upper: jax.Array
    log_rate: jax.Array


def mixture_tails(
    u: jax.Array,
    log_weight: jax.Array,
    log_scale: jax.Array,
    log_tail: Callable[[jax.Array], jax.Array],
    log_hazard: Callable[[jax.Array], jax.Array],
    axis: int,
) -> Tails:
    """The tails of `Σ_k π_k F(u_k)`, `u_k = (x − μ_k) / σ_k`, for an F that is symmetric about 0.

    Far out, the logarithms of the density and of the tail are large numbers whose difference is
    small, of the order of 1: it is formed component by component, where it has a closed form.

    Args:
      u, log_weight, log_scale: u, `log π` and `log σ`, with the components on one axis.
      log_tail: `log F(u)`.
      log_hazard: `log F'(u) / F(u)`.
      axis: of the components.
    """
    below, above = log_weight + log_tail(u), log_weight + log_tail(-u)
    lower, upper = (jax.nn.logsumexp(a, axis) for a in (below, above))
    left = jnp.expand_dims(lower < upper, axis)
    share = jax.nn.log_softmax(jnp.where(left, below, above), axis)
    hazard = log_hazard(jnp.where(left, u, -u)) - log_scale
    return Tails(lower, upper, jax.nn.logsumexp(share + hazard, axis))


# Of a component, at least: far below a rounding unit, and far above what underflows.
LEAST_LOG_WEIGHT = -60.0


def logistic_mixture_tails(
    u: jax.Array, log_weight: jax.Array, log_scale: jax.Array, axis: int
) -> Tails:
    """As `mixture_tails` for `F(u) = 1 / (1 + e^{−u})`, with one exponential for each component.

    Weights below e⁻⁶⁰ are taken as that. Where x lies beyond all components on one side, the
    nearest one's exponential is taken out of the sums, so that nothing underflows.
    """
    nearest = jax.lax.stop_gradient(u)
    low = jnp.minimum(nearest.max(axis, keepdims=True), 0)  # below zero left of all components
    high = jnp.minimum(-nearest.min(axis, keepdims=True), 0)  # and right of all
    left_of = u < 0
    # Not the absolute value, whose derivative at zero is zero.
    small = jnp.exp(jnp.where(left_of, u, -u) - (low + high))  # e^{−|u|}, without what is taken out
    share = 1 / (1 + small * jnp.exp(low + high))
    weight = jnp.exp(jnp.maximum(log_weight, LEAST_LOG_WEIGHT)) * share
    below = (weight * jnp.where(left_of, small, 1)).sum(axis)
    above = (weight * jnp.where(left_of, 1, small)).sum(axis)
    # Divided by the smaller of the two, which has lost as much as the density has.
    density = (weight * small * share * jnp.exp(-log_scale)).sum(axis)
    lower = jnp.log(below) + jnp.squeeze(low, axis)
    upper = jnp.log(above) + jnp.squeeze(high, axis)
    return Tails(lower, upper, jnp.log(density / jnp.where(lower < upper, below, above)))
