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
