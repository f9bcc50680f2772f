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

# Those of `FACTORIAL` with a second derivative everywhere.
FAMILIES = ("hyperbolic_secant", "logistic")
# Rows whose products with a D × D matrix are formed at once.
CHUNK = 8192
# The first passes see this many rows for each entry of a row of W.
ROWS_PER_SOURCE = 30
# Of the Hessian's eigenvalues, which are about 1 in well separated sources.
FLOOR = 0.01


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
    falls into blocks of 2 × 2, one for each pair of sources: O(N D²) a step and no inverse. Steps
    `W ← (I − η Ê) W` are halved until the likelihood rises. The first ones see a part of the rows.

    Args:
      x: `[N, D]`, mixtures.
      family: of the sources, `hyperbolic_secant` or `logistic`.
      tolerance: of the largest entry of E, where the steps end.
      max_steps: after which they end in any case.

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
    few = ROWS_PER_SOURCE * dim
    if 4 * few < rows:
        # Those steps need no more accuracy than the part has.
        part = white[:: rows // few]
        rough = max(tolerance, 0.3 / np.sqrt(len(part)))
        weight, _ = _maximize(part, weight, family, rough, max_steps)
    weight, log_likelihood = _maximize(white, weight, family, tolerance, max_steps)
    dense = Dense(dim, rngs=nnx.Rngs(0))
    total = np.asarray(weight, np.float64) @ whiten
    dense.weight[...] = jnp.asarray(total, jnp.float32)
    dense.bias[...] = jnp.asarray(-total @ mean, jnp.float32)
    log_likelihood -= 0.5 * np.log(values).sum()
    flow = Flow(FACTORIAL[family]((dim,)), dense)
    return Unmixing(flow, np.array([log_likelihood]), time.monotonic() - began)


def _maximize(white, weight, family, tolerance, max_steps):
    """The W of white data, from a start, and its mean log-likelihood."""
    log_prob, gradient, blocks = _derivatives(white, weight, family)
    rate = 1.0
    for _ in range(max_steps):
        if np.abs(gradient).max() < tolerance:
            break
        step = _direction(gradient, blocks)
        rate = min(1.0, 2 * rate)
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
        weight, (log_prob, gradient, blocks) = new, values
    return weight, log_prob


def _derivatives(white, weight, family) -> tuple[float, np.ndarray, np.ndarray]:
    """The mean log-likelihood, E, and h: `mean ψ'(y_i) · mean y_j²`, of pairs that are independent,
    and `mean ψ'(y_i) y_i²` on the diagonal."""
    log_p, cross, slope, square, both = _sums(white, jnp.asarray(weight), family)
    rows = len(white)
    gradient = np.asarray(cross, np.float64) / rows - np.eye(len(weight))
    blocks = np.outer(np.asarray(slope) / rows, np.asarray(square) / rows)
    np.fill_diagonal(blocks, np.asarray(both) / rows)
    log_det = np.linalg.slogdet(weight.astype(np.float64))[1]
    return float(log_p) / rows + log_det, gradient, blocks


@functools.partial(jax.jit, static_argnames="family")
def _sums(white, weight, family):
    density = FACTORIAL[family].log_density

    def score(y):
        return -jax.grad(lambda y: density(y).sum())(y)

    def chunk(total, x):
        y = x @ weight.T
        psi, slope = jax.jvp(score, (y,), (jnp.ones_like(y),))
        square = y * y
        terms = density(y).sum(), psi.T @ y, slope.sum(0), square.sum(0), (slope * square).sum(0)
        return jax.tree.map(jnp.add, total, terms), None

    dim, whole = len(weight), len(white) // CHUNK * CHUNK
    zeros = jnp.zeros(()), jnp.zeros((dim, dim)), *[jnp.zeros(dim)] * 3
    total, _ = jax.lax.scan(chunk, zeros, white[:whole].reshape(-1, CHUNK, dim))
    return chunk(total, white[whole:])[0]


def _direction(gradient: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Solves `h_ij Ê_ij + Ê_ji = E_ij` for each pair, h made positive definite where it is not."""
    diagonal = np.diag(gradient) / (1 + np.diag(h))
    # Eigenvalues of [[h_ij, 1], [1, h_ji]] below the floor are lifted to it.
    smallest = 0.5 * (h + h.T - np.sqrt((h - h.T) ** 2 + 4))
    h = h + np.maximum(0, FLOOR - smallest)
    step = (h.T * gradient - gradient.T) / (h * h.T - 1)
    np.fill_diagonal(step, diagonal)
    return step.astype(np.float32)
