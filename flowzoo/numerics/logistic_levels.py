"""Mixtures of logistics on grey levels: `F` is their distribution function where levels meet.

With M components in units in which the pixels' range is [−1, 1] and `G(t) = Σ_m π_m sigmoid((t −
μ_m)/s_m)`, level k of L has the probability `G(e_{k+1}) − G(e_k)` where `e_k = 2k/L − 1`, and the
first and last levels have the tails too. F is linear within a level and goes on as a line beyond.

Source: Salimans, Karpathy, Chen, Kingma, "PixelCNN++", ICLR 2017, arXiv 1701.05517.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

# A component narrower than exp(−7) is as good as a step, one wider than exp(7) as good as even.
LARGEST_LOG_SCALE = 7.0


def evaluate(
    x: jax.Array, level: jax.Array, y: jax.Array, levels: int
) -> tuple[jax.Array, jax.Array]:
    """`F(x)` and `log F'(x)`, `[...]`.

    Args:
      x: `[...]`, from 0 to 1.
      level: `[...]`, that of x, integers.
      y: `[..., 3 M]`, as of `split_outputs`.
      levels: L.
    """
    before, log_mass = _below(level, y, levels), _log_mass(level, y, levels)
    value = before + jnp.exp(log_mass) * (x * levels - level)
    return value, log_mass + math.log(levels)


def invert(z: jax.Array, y: jax.Array, levels: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`F⁻¹(z)`, its level and `log F'` there, by bisection of the levels."""
    fixed, target = jax.lax.stop_gradient(y), jax.lax.stop_gradient(z)
    low = jnp.zeros(jnp.broadcast_shapes(z.shape, y.shape[:-1]), jnp.int32)
    high = jnp.full(low.shape, levels)
    for _ in range((levels - 1).bit_length()):
        middle = (low + high) // 2
        right = (_below(middle, fixed, levels) <= target) & (middle < levels)
        low, high = jnp.where(right, middle, low), jnp.where(right, high, middle)
    log_mass = _log_mass(low, y, levels)
    x = (low + (z - _below(low, y, levels)) * jnp.exp(-log_mass)) / levels
    return x, low, log_mass + math.log(levels)


def starting_outputs(masses: np.ndarray, num_components: int) -> np.ndarray:
    """`[3 M]`: components as wide as each other at the quantiles of a histogram `masses: [L]`."""
    middles = (np.arange(num_components) + 0.5) / num_components
    positions = np.searchsorted(np.cumsum(masses), middles) + 0.5
    means = 2 * positions / len(masses) - 1
    scale = max(means.std(), 0.02) / num_components
    zeros = np.zeros(num_components)
    return np.concatenate([zeros, means, zeros + math.log(scale)])


def split_outputs(y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`log π`, μ and `log s`, each `[..., M]`, of a network's outputs `[..., 3 M]`."""
    logits, means, log_scales = jnp.split(y, 3, -1)
    return (
        jax.nn.log_softmax(logits),
        means,
        jnp.clip(log_scales, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE),
    )


def _below(level: jax.Array, y: jax.Array, levels: int) -> jax.Array:
    """`F(k/L)`: zero at the first level, one behind the last."""
    log_weights, means, log_scales = split_outputs(y)
    edge = (2 * level / levels - 1)[..., None]
    inside = jax.nn.sigmoid((edge - means) * jnp.exp(-log_scales))
    value = (jnp.exp(log_weights) * inside).sum(-1)
    return jnp.where(level <= 0, 0, jnp.where(level >= levels, 1, value))


def _log_mass(level: jax.Array, y: jax.Array, levels: int) -> jax.Array:
    """The log-probability of a level, exact where that is far below the rounding of F."""
    log_weights, means, log_scales = split_outputs(y)
    k, rates = level[..., None], jnp.exp(-log_scales)
    left = (2 * k / levels - 1 - means) * rates
    right = (2 * (k + 1) / levels - 1 - means) * rates
    is_first, is_last = k == 0, k == levels - 1
    # sigmoid(b) − sigmoid(a) = sigmoid(b) sigmoid(−a) (1 − exp(a − b))
    log_masses = (
        jnp.where(is_last, 0, jax.nn.log_sigmoid(right))
        + jnp.where(is_first, 0, jax.nn.log_sigmoid(-left))
        + jnp.where(is_first | is_last, 0, jnp.log(-jnp.expm1(-2 / levels * rates)))
    )
    return jax.nn.logsumexp(log_weights + log_masses, -1)
