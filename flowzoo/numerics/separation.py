"""How well sources were found, and how a mixing mixes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CORRELATIONS = ("pearson", "spearman")


class Matching(NamedTuple):
    """Which found source is which true one.

    Attributes:
      order: `[d]`: true source i is found source `order[i]`.
      correlation: `[d]`, of these pairs, with its sign.
    """

    order: np.ndarray
    correlation: np.ndarray


def match(sources: np.ndarray, found: np.ndarray, method: str = "pearson") -> Matching:
    """Pairs true and found sources such that the absolute correlations have the largest sum.

    Args:
      sources: `[N, d]`.
      found: `[N, D]`, D ≥ d: where some true sources are not known, their found ones stay over.
      method: `pearson`, or `spearman`, the correlation of ranks, which does not change under an
        increasing function of a source.

    Raises:
      ValueError: if the numbers of rows differ or are below two, fewer sources are found than there
        are, a number is not finite, a column is constant, or the method is unknown.
    """
    # Importing these takes as long as importing JAX, and every training imports this file.
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import rankdata

    if method not in CORRELATIONS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(CORRELATIONS)}.")
    arrays = []
    for name, a in (("sources", sources), ("found", found)):
        a = np.asarray(a, np.float64)
        rows, dim = np.shape(sources) if np.ndim(sources) == 2 else (0, 0)
        if a.ndim != 2 or rows < 2 or len(a) != rows or a.shape[1] < dim:
            raise ValueError(
                f"mcc got sources of shape {np.shape(sources)} and found ones of shape "
                f"{np.shape(found)}, expected [N, d] and [N, D], with N at least 2 and D ≥ d."
            )
        if not np.all(np.isfinite(a)):
            raise ValueError(f"mcc got {name} with NaN or infinity, expected finite numbers.")
        a = rankdata(a, axis=0) if method == "spearman" else a
        a = a - a.mean(0)
        scale = np.sqrt((a * a).sum(0))
        if np.any(scale == 0):
            raise ValueError(
                f"mcc got {name} whose column {int(np.argmin(scale))} is constant, which has no "
                "correlation with anything: leave it out."
            )
        arrays.append(a / scale)
    correlation = arrays[0].T @ arrays[1]
    rows, order = linear_sum_assignment(-np.abs(correlation))
    return Matching(order, correlation[rows, order])


def mcc(sources: np.ndarray, found: np.ndarray, method: str = "pearson") -> float:
    """The mean correlation coefficient: that of the absolute correlations of matched sources.

    1 if the found sources are the true ones up to order, sign, scale and shift.

    Args:
      sources, found, method: as for `match`.

    Raises:
      ValueError: as `match`.

    Source: Hyvärinen, Morioka, "Unsupervised feature extraction by time-contrastive learning and
    nonlinear ICA", arXiv 1605.06336; Khemakhem et al., arXiv 1907.04809.
    """
    return float(np.abs(match(sources, found, method).correlation).mean())


def amari(unmixing: np.ndarray, mixing: np.ndarray) -> float:
    """Amari's distance of `P = W A` from a scaled permutation, between 0 and 1:

        1 / (2 D (D − 1)) · [Σ_i (Σ_j |p_ij| / r_i − 1) + Σ_j (Σ_i |p_ij| / c_j − 1)]

    with `r_i = max_j |p_ij|` and `c_j = max_i |p_ij|`. 0 if the unmixing finds the sources up to
    order, sign and scale. This is the form that is divided by its largest value; others differ by
    the factor.

    Args:
      unmixing: W, `[D, D]`, data → sources.
      mixing: A, `[D, D]`, sources → data.

    Raises:
      ValueError: unless both are square, of one size above 1, and the product has no row or column
        of zeros.

    Source: Amari, Cichocki, Yang, "A new learning algorithm for blind signal separation", NeurIPS
    1995.
    """
    unmixing, mixing = np.asarray(unmixing, np.float64), np.asarray(mixing, np.float64)
    shape = unmixing.shape
    if len(shape) != 2 or shape[0] != shape[1] or shape != mixing.shape or shape[0] < 2:
        raise ValueError(
            f"amari got matrices of shapes {shape} and {mixing.shape}, expected two square ones of "
            "one size, at least 2 × 2."
        )
    p = np.abs(unmixing @ mixing)
    rows, columns = p.max(1), p.max(0)
    if not (np.all(np.isfinite(p)) and rows.min() > 0 and columns.min() > 0):
        raise ValueError("amari got a product with a row or column of zeros, or NaN or infinity.")
    total = (p / rows[:, None]).sum() + (p / columns).sum() - 2 * len(p)
    return float(total / (2 * len(p) * (len(p) - 1)))


def c_ima(jacobian: jax.Array) -> jax.Array:
    """`Σ_i log ‖∂f/∂s_i‖ − log|det ∂f/∂s|`: how far the columns of a Jacobian are from orthogonal.

    The contrast of independent mechanism analysis, in nats: never negative, and 0 if every source
    acts in a direction of its own, at right angles to the others', as under conformal maps. Its
    mean over points is the contrast of the mixing.

    Args:
      jacobian: `[..., D, D]`, of the mixing f, sources → data; entry (j, i) is `∂x_j/∂s_i`.

    Returns:
      `[...]`.

    Source: Gresele, von Kügelgen, Stimper, Schölkopf, Besserve, "Independent mechanism analysis, a
    new concept?", arXiv 2106.05200.
    """
    squares = jnp.sum(jnp.asarray(jacobian) ** 2, axis=-2)
    return 0.5 * jnp.log(squares).sum(-1) - jnp.linalg.slogdet(jacobian)[1]
