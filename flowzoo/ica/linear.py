"""Linear ICA: one dense layer under a super-Gaussian base, which is Infomax."""

import functools
import time

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.bases.factorial import FACTORIAL
from flowzoo.flow import Flow
from flowzoo.ica.unmixing import Unmixing, check_mixtures
from flowzoo.transforms import Dense
from flowzoo.transforms.linear.whiten import whitening

# The a and b of `ψ(y) = −(log p)' = a tanh(b y)`.
FAMILIES = {"hyperbolic_secant": (np.pi / 2, np.pi / 2), "logistic": (1.0, 0.5)}
# Rows whose products with a D × D matrix are formed at once.
CHUNK = 8192
# The first passes over the data make a step for each batch. Their noise leads out of the many local
# optima of mixtures that are almost normal, and too much of it leads back into them: the rate is
# halved after a pass that takes the sources little further from normal ones, and doubled after one
# that takes them much further. These numbers were measured on 64 to 1,024 sources.
BATCH = 1024
FEWEST_BATCHES = 4
MOMENTUM, BATCH_FLOOR = 0.5, 0.03
# The greatest rate: the noise grows with the sources.
RATE, RATE_TIMES_DIM = 0.5, 256
# Of the distance from normal sources the least, and the one from which the rate may be doubled;
# what counts as much and as little, as factors of it; and how many passes that lead little further
# are the last, above the least distance and at it.
NORMAL, CLEAR, MUCH, LITTLE, PATIENCE = 0.005, 0.05, 1.5, 1.02, (2, 4)
# Of the Hessian's eigenvalues in steps that see all rows; they are about 1 in separated sources.
FLOOR = 0.01
# Of the entries of a step, about the angle by which it turns a pair of sources.
LONGEST = 0.5
# Steps and changes of the gradient that the later steps are made from.
MEMORY = 7


def fit_linear(
    x: np.ndarray,
    *,
    family: str = "hyperbolic_secant",
    tolerance: float = 1e-4,
    max_steps: int = 200,
) -> Unmixing:
    """Linear ICA by maximum likelihood: `s = W x + b`, W any invertible matrix.

    A flow of one dense layer under independent sources of a super-Gaussian law; with the hyperbolic
    secant it is Infomax. The relative gradient `E = ψ(Y)ᵀ Y / N − I`, `ψ = −(log p)'`, is
    multiplied by the inverse of the Hessian that it has where the sources are independent, which
    falls into blocks of 2 × 2, one for each pair of sources: O(N D²) a step and no inverse. That is
    the first Hessian of limited-memory BFGS, whose steps `W ← (I − η Ê) W` are halved until the
    likelihood rises. Mixtures of many sources are almost normal, where a step does little: the
    first passes over the rows make a step for each batch, without the memory.

    Args:
      x: `[N, D]`, mixtures.
      family: of the sources, `hyperbolic_secant` or `logistic`.
      tolerance: of the largest entry of E, where the steps end.
      max_steps: passes over the data after which they end in any case.

    Returns:
      The flow, whose only layer maps x to the sources.

    Raises:
      ValueError: if the data are not as above, there are fewer rows than sources, the data do not
        vary in some direction, or the family is unknown.

    Source: Bell, Sejnowski, "An information-maximization approach to blind separation", 1995;
    Amari, Cichocki, Yang, 1995; Zibulevsky, "Blind source separation with relative Newton method",
    2003; for the blocks Ablin, Cardoso, Gramfort, "Faster independent component analysis by
    preconditioning with Hessian approximations", arXiv 1706.08171.
    """
    began = time.monotonic()
    x = check_mixtures("fit_linear", x)
    rows, dim = x.shape
    if family not in FAMILIES:
        raise ValueError(f"The family is {family!r}, expected one of {', '.join(FAMILIES)}.")
    if not (tolerance > 0 and max_steps >= 1):
        raise ValueError(
            f"fit_linear got tolerance {tolerance} and max_steps {max_steps}, expected a positive "
            "number and at least 1."
        )
    mean, values, vectors = whitening(x, shrinkage=0.0)
    whiten = (vectors / np.sqrt(values)) @ vectors.T
    white = jnp.asarray((x - mean) @ whiten, jnp.float32)
    weight = np.eye(dim, dtype=np.float32)
    weight, passes = _approach(white, weight, family, max_steps - 1)
    weight, log_likelihood = _maximize(white, weight, family, tolerance, max_steps - passes)
    dense = Dense(dim, rngs=nnx.Rngs(0))
    total = np.asarray(weight, np.float64) @ whiten
    dense.weight[...] = jnp.asarray(total, jnp.float32)
    dense.bias[...] = jnp.asarray(-total @ mean, jnp.float32)
    log_likelihood -= 0.5 * np.log(values).sum()
    flow = Flow(FACTORIAL[family]((dim,)), dense)
    return Unmixing(flow, np.array([log_likelihood]), time.monotonic() - began)


def _approach(white, weight, family, most: int) -> tuple[np.ndarray, int]:
    """W near the maximum, by steps that see a batch each, and the number of passes they took."""
    if (parts := len(white) // BATCH) < FEWEST_BATCHES:
        return weight, 0
    # Each batch is spread evenly over the rows, which may come in an order.
    batches = white[: parts * BATCH].reshape(BATCH, parts, -1)
    start = jnp.asarray(weight), jnp.zeros_like(weight)
    highest = min(RATE, RATE_TIMES_DIM / len(weight))
    state, rate, last, passes, level, settled = start, highest, NORMAL, 0, 0, True
    while passes < most and level < PATIENCE[last == NORMAL]:
        state, distance = _pass(batches, *state, rate, family)
        passes += 1
        if not np.isfinite(distance):
            state, distance = start, 0.0
        growth, normal, last = distance / last, last == NORMAL, max(NORMAL, float(distance))
        if growth < LITTLE:
            level, rate, settled = level + 1, rate / 2, False
            continue
        # Sources that are found go further once where the rate is lower.
        level, settled = 0 if settled or normal else level, True
        if growth > MUCH and last > CLEAR:
            rate = min(highest, 2 * rate)
    return np.asarray(state[0]), passes


@functools.partial(jax.jit, static_argnames="family")
def _pass(batches, weight, momentum, rate, family):
    """A step for each of `batches: [B, P, D]`, and how far the sources are from normal ones.

    That is `E ψ'(y_i) y_j² / E ψ(y_i) y_i − 1` for i ≠ j, which is 0 where y is normal, of any
    scale, and more where its tails are heavier.
    """

    def step(state, part):
        weight, momentum = state
        _, cross, h = jax.tree.map(lambda a: a / BATCH, _terms(batches[:, part], weight, family))
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * (cross - jnp.eye(len(cross)))
        change = _direction(momentum, h, BATCH_FLOOR) @ weight
        pairs = (h.sum() - jnp.trace(h)) / max(1, dim * (dim - 1))
        return (weight - rate * change, momentum), pairs / jnp.diag(cross).mean()

    dim = len(weight)
    state, ratios = jax.lax.scan(step, (weight, momentum), jnp.arange(batches.shape[1]))
    return state, ratios.mean() - 1


def _maximize(white, weight, family, tolerance, max_steps):
    """The W of white data, from a start, and its mean log-likelihood."""
    log_prob, gradient, h = _derivatives(white, weight, family)
    rate, memory = 1.0, []
    for _ in range(max_steps):
        if np.abs(gradient).max() < tolerance:
            break
        step = _quasi_newton(gradient, h, memory)
        if memory and not jnp.vdot(step, gradient) > 0:
            memory.clear()
            step = _direction(gradient, h, FLOOR)
        step, rate = np.asarray(step), min(1.0, 2 * rate)
        while rate > 1e-4:
            new = weight - rate * (step @ weight)
            values = _derivatives(white, new, family)
            # Where the likelihood is flat to rounding, its gradient still is not.
            better = np.abs(values[1]).max() < np.abs(gradient).max()
            if values[0] > log_prob or (better and values[0] > log_prob - 1e-5 * len(weight)):
                break
            rate /= 2
        else:
            break
        moved, change = -rate * step, values[1] - gradient
        if (curvature := jnp.vdot(moved, change)) > 0:
            memory = [*memory, (moved, change, curvature)][-MEMORY:]
        weight, (log_prob, gradient, h) = new, values
    return weight, log_prob


def _quasi_newton(gradient, h, memory) -> jax.Array:
    """The two loops of limited-memory BFGS, on top of the Hessian of `_direction`.

    Source: Nocedal, Wright, "Numerical optimization", 2006, algorithm 7.4.
    """
    factors = []
    for moved, change, curvature in reversed(memory):
        factors.append(jnp.vdot(moved, gradient) / curvature)
        gradient = gradient - factors[-1] * change
    step = _direction(gradient, h, FLOOR)
    for (moved, change, curvature), factor in zip(memory, reversed(factors), strict=True):
        step = step + (factor - jnp.vdot(change, step) / curvature) * moved
    return step


def _derivatives(white, weight, family) -> tuple[float, jax.Array, jax.Array]:
    """The mean log-likelihood, E, and the h of its Hessian, see `_direction`."""
    log_p, cross, h = _sums(white, jnp.asarray(weight), family)
    log_det = np.linalg.slogdet(weight.astype(np.float64))[1]
    gradient = cross / len(white) - np.eye(len(weight), dtype=np.float32)
    return float(log_p) / len(white) + log_det, gradient, h / len(white)


def _terms(x, weight, family):
    """Sums over rows: log p, `ψ(y) yᵀ`, and `ψ'(y) (y²)ᵀ`."""
    a, b = FAMILIES[family]
    y = x @ weight.T
    psi = a * jnp.tanh(b * y)
    slope = b * (a - psi**2 / a)
    return FACTORIAL[family].log_density(y).sum(), psi.T @ y, slope.T @ (y * y)


@functools.partial(jax.jit, static_argnames="family")
def _sums(white, weight, family):
    def chunk(total, x):
        return jax.tree.map(jnp.add, total, _terms(x, weight, family)), None

    dim, whole = len(weight), len(white) // CHUNK * CHUNK
    zeros = jnp.zeros(()), jnp.zeros((dim, dim)), jnp.zeros((dim, dim))
    total, _ = jax.lax.scan(chunk, zeros, white[:whole].reshape(-1, CHUNK, dim))
    return chunk(total, white[whole:])[0]


@jax.jit
def _direction(gradient: jax.Array, h: jax.Array, floor: float) -> jax.Array:
    """Solves `h_ij Ê_ij + Ê_ji = E_ij` for each pair, h made positive definite where it is not.

    h is `mean ψ'(y_i) y_j²`. A pair that is the sum and the difference of two sources has a small
    one: the solution is then too long, and shortened.
    """
    diagonal = jnp.diag(gradient) / (1 + jnp.diag(h))
    # Eigenvalues of [[h_ij, 1], [1, h_ji]] below the floor are lifted to it.
    smallest = 0.5 * (h + h.T - jnp.sqrt((h - h.T) ** 2 + 4))
    h = h + jnp.maximum(0, floor - smallest)
    step = (h.T * gradient - gradient.T) / (h * h.T - 1)
    step = jnp.where(jnp.eye(len(h), dtype=bool), diagonal, step)
    size = jnp.maximum(jnp.abs(step), jnp.abs(step.T))
    return step * jnp.minimum(1, LONGEST / size)
