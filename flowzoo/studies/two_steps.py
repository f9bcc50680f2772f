"""Couplings that reach any planar density, written down: how near, and how badly conditioned.

A density of (x₁, x₂) is reached from z ~ N(0, I) by two affine couplings with piecewise constant
shifts and constant scales, for a width δ of cells:

    b = δ round(F₁⁻¹(Φ(z₁)) / δ) + ε z₂           the first coordinate, and z₂ in its small digits
    a = ε z₁ + Q(Φ((b − δ round(b/δ)) / ε) | round(b/δ))    the second, by the decoded z₂

with F₁ the distribution function of x₁, Q(· | cell) the quantile function of x₂ given the cell of
x₁, and ε = δ/8, so that |ε z₂| stays below δ/2 but for |z₂| > 4. Then (b, a) is at a Wasserstein
distance of order δ from the density. The Jacobian is [[0, ε], [ε, ∂a/∂z₂]], with determinant −ε²:
the smallest singular value falls as δ², and the condition number grows as δ⁻².

A third coupling may be the identity. Koehler, Mehta, Risteski (arXiv 2010.01155) prove that three
couplings come as near as one likes to any density, if their conditioning may be bad.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

DIGITS = 8  # δ/ε


class Reached(NamedTuple):
    """What the construction gives from draws of z.

    Attributes:
      samples: `[N, 2]`.
      largest, smallest: singular values of ∂(b, a)/∂z at each draw, `[N]`.
    """

    samples: np.ndarray
    largest: np.ndarray
    smallest: np.ndarray


def reach(data: np.ndarray, z: np.ndarray, delta: float) -> Reached:
    """The two couplings, with the distribution functions of a sample `[M, 2]`, at `z: [N, 2]`."""
    epsilon = delta / DIGITS
    first = np.sort(data[:, 0])
    coarse = delta * np.round(_quantile(first, ndtr(z[:, 0])) / delta)
    b = coarse + epsilon * z[:, 1]
    # What the second coupling sees is b alone.
    cell = np.round(b / delta).astype(int)
    u = ndtr((b - delta * cell) / epsilon)
    of_data = np.round(data[:, 0] / delta).astype(int)
    order = np.lexsort((data[:, 1], of_data))
    second, cells = data[order, 1], of_data[order]
    # A tail of z₂ can lead to a cell without data; it takes the next one that has some.
    starts = np.searchsorted(cells, np.clip(cell, cells[0], cells[-1]), side="left")
    starts = np.minimum(starts, len(cells) - 1)
    ends = np.searchsorted(cells, cells[starts], side="right")
    shift, slope = _quantile_between(second, starts, ends, u)
    a = epsilon * z[:, 0] + shift
    # Of u in z₂: the normal density, however many digits are between them.
    slope = slope * np.exp(-(((b - delta * cell) / epsilon) ** 2) / 2) / np.sqrt(2 * np.pi)
    zero, step = np.zeros_like(slope), np.full_like(slope, epsilon)
    jacobian = np.stack([np.stack([zero, step], -1), np.stack([step, slope], -1)], -2)
    values = np.linalg.svd(jacobian, compute_uv=False)
    return Reached(np.stack([b, a], -1), values[:, 0], values[:, 1])


def _quantile(values: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Of sorted values, linear between them."""
    return np.interp(u * (len(values) - 1), np.arange(len(values)), values)


def _quantile_between(values, starts, ends, u) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the sorted parts `values[start:end]`, and their derivatives in u."""
    last = ends - starts - 1
    at = u * last
    low = np.minimum(at.astype(int), np.maximum(last - 1, 0))
    lower, upper = values[starts + low], values[np.minimum(starts + low + 1, ends - 1)]
    return lower + (at - low) * (upper - lower), last * (upper - lower)
