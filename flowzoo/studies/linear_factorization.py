"""Any invertible matrix as a product of linear couplings with a fixed partition, written down.

A *linear coupling pair* maps the two halves of a vector in turn,

    [[I, 0], [A, B]] [[C, D], [0, I]]    B and C diagonal.

Koehler, Mehta, Risteski (arXiv 2010.01155) prove that at most 24 pairs give any matrix of positive
determinant. `factorize` needs `NUM_PAIRS` = 11, with positive B and C, and is accurate to rounding,
because it is made of orthogonal decompositions:

  1. A shear `U(X) = [[I, X], [0, I]]` whose X comes from the cosine-sine decomposition of the first
     block column makes the first block A' invertible, and as well conditioned as that column.
  2. Block elimination: `U(X) T = L(·) diag(A', S) U(·)`, L and U unit lower and upper triangular.
  3. `diag(A', S) = diag(A', A'⁻¹) diag(I, Z)` with `Z = A' S`.
  4. Z is a rotation by angles θ times a positive definite matrix. A rotation by θ/2 is a product of
     two matrices with positive distinct eigenvalues, so that Z is a product of five matrices
     `N = S Λ S⁻¹`, Λ positive and diagonal.
  5. `diag(Y, R Y⁻¹ R⁻¹)` is a product of four unit triangular factors: `U(c) L((Y − I)/c) U(−c Y⁻¹)
     L((Y − Y²)/c)` with any number c if R = I, conjugated by diag(I, R) if not; and as many that
     begin with an L. So is diag(A', A'⁻¹), and so is `diag(I, N) = diag(Λ⁻¹, N) diag(Λ, I)`. Six
     such products, alternately in the two forms, meet in factors of the same kind, which are one.

Where the determinant is negative, one entry of one B is. The other end, `reflection`: the matrix
`diag(I, −I)` is at a distance of at least 1 from each product of two pairs with positive B and C.
Proof: in such a product `[[M₁₁, M₁₂], [M₂₁, M₂₂]]` let `X = M₁₁` and `Y = M₂₂ − M₂₁ X⁻¹ M₁₂`.
Taking the outer two factors off leaves `U L` with diagonal blocks that say that there are matrices
G and N and positive diagonal F and E with `G N = X F − I` and `N G = Y⁻¹ E − I`, hence that X F and
Y⁻¹ E have the same trace. Within a Frobenius distance below 1 of diag(I, −I), X has a positive
diagonal and Y⁻¹ a negative one, so that the first trace is positive and the second is not.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

NUM_PAIRS = 11
# The squared distance of diag(I, −I), of any even size, from all products of two pairs.
REFLECTION_BOUND = 1.0


# A factor: "lower" or "upper" with its block, or "scale" with the two halves' scales.
Part = tuple[str, Any]


class Couplings(NamedTuple):
    """K coupling pairs on vectors of 2n: A and D `[K, n, n]`, the diagonals B and C `[K, n]`."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray

    def product(self) -> np.ndarray:
        """`[[I, 0], [A_1, B_1]] [[C_1, D_1], [0, I]] ⋯`, the first pair on the left."""
        n = self.B.shape[-1]
        top, bottom = np.split(np.eye(2 * n), 2)
        for a, b, c, d in list(zip(*self, strict=True))[::-1]:
            top = c[:, None] * top + d @ bottom
            bottom = a @ top + b[:, None] * bottom
        return np.concatenate([top, bottom])


def reflection(dim: int) -> np.ndarray:
    """`diag(I, −I)`, at a distance of 1 or more from all products of two pairs with positive B, C.

    Args:
      dim: its size, even.
    """
    return np.diag(np.repeat([1.0, -1.0], dim // 2))


def factorize(matrix: np.ndarray) -> Couplings:
    """`NUM_PAIRS` coupling pairs whose product is an invertible matrix `[2n, 2n]`, in float64.

    B and C are positive, but for one entry of B if the determinant is negative.

    Raises:
      ValueError: if the matrix is not square, of an even size, and invertible.
    """
    matrix = np.asarray(matrix, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) % 2:
        raise ValueError(f"factorize got shape {matrix.shape}, expected a square of even size.")
    sign, log_det = np.linalg.slogdet(matrix)
    if not np.isfinite(log_det):
        raise ValueError("factorize got a singular matrix, expected an invertible one.")
    n = len(matrix) // 2
    x = _pivot(matrix[:, :n])
    sheared = np.block([[np.eye(n), x], [np.zeros((n, n)), np.eye(n)]]) @ matrix
    (a, b), (c, d) = ([row[:, :n], row[:, n:]] for row in (sheared[:n], sheared[n:]))
    left, right = np.linalg.solve(a.T, c.T).T, np.linalg.solve(a, b)
    size = np.exp(np.linalg.slogdet(a)[1] / n)
    last = np.ones(n)
    last[-1] = sign
    parts = [("upper", -x), ("lower", left), *_block_pair(a / size, np.eye(n), "lower")]
    z = a / size @ (d - left @ b) * last
    for i, (vectors, values) in enumerate(_positive_diagonalizable_factors(z)):
        mean = np.exp(np.log(values).mean())
        parts += _block_pair(np.diag(mean / values), vectors, ("upper", "lower")[i % 2])
        parts.append(("scale", (values / mean, np.full(n, mean))))
    return _collect([*parts, ("scale", (np.full(n, size), last)), ("upper", right)], n)


def _pivot(column: np.ndarray) -> np.ndarray:
    """X such that `column[:n] + X column[n:]` is about as well conditioned as the column."""
    n = column.shape[1]
    q, _ = np.linalg.qr(column)
    u, _, vt = np.linalg.svd(q[:n])
    # The singular values are cosines in falling order; the largest sines come last.
    other = (q[n:] @ vt.T)[:, ::-1]
    w, r = np.linalg.qr(other)
    w = (w * np.where(np.diagonal(r) < 0, -1, 1))[:, ::-1]
    return u @ w.T


def _positive_diagonalizable_factors(
    z: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Five pairs (S, Λ), Λ positive, with `Z = Π S Λ S⁻¹`; Z `[n, n]` of positive determinant."""
    u, s, vt = np.linalg.svd(z)
    stretch = (vt.T, s)
    schur, basis = scipy.linalg.schur(u @ vt, output="real")
    n = len(z)
    turned, at = [], 0
    halves = [np.eye(n), np.eye(n)]
    reflected = []
    while at < n:
        if at + 1 < n and abs(schur[at + 1, at]) > 1e-8:
            turned.append((at, at + 1, np.arctan2(schur[at + 1, at], schur[at, at])))
            at += 2
            continue
        if schur[at, at] < 0:
            reflected.append(at)
        at += 1
    # The determinant is 1: reflected axes come in pairs, each of which is turned by π.
    turned += [(i, j, np.pi) for i, j in zip(reflected[::2], reflected[1::2], strict=True)]
    for i, j, angle in turned:
        cosine, sine = np.cos(angle / 2), np.sin(angle / 2)
        shear = np.array([[2.0, 3.0 * sine], [0.0, 0.5]])
        # Its trace is 2.5 cosine + 3 sine², at least 2.5: positive, distinct eigenvalues.
        block = np.array([[cosine, -sine], [sine, cosine]]) @ shear
        for half, part in zip(halves, (block, np.linalg.inv(shear)), strict=True):
            half[np.ix_((i, j), (i, j))] = part
    pairs = []
    for half in halves:
        values, vectors = np.ones(n), np.eye(n)
        for i, j, _ in turned:
            rows = np.ix_((i, j), (i, j))
            values[[i, j]], vectors[rows] = (a.real for a in np.linalg.eig(half[rows]))
        pairs.append((basis @ vectors, values))
    return [*pairs, *pairs, stretch]


def _block_pair(y: np.ndarray, r: np.ndarray, first: str) -> list[Part]:
    """`diag(Y, R Y⁻¹ R⁻¹)` as four unit triangular factors, of which one kind comes first."""
    eye, x, back = np.eye(len(y)), np.linalg.inv(y), np.linalg.inv(r)
    if first == "upper":
        c = max(1.0, float(np.linalg.norm(y, 2)))
        terms = [c * eye, (y - eye) / c, -c * x, (y - y @ y) / c]
    else:
        c = max(1.0, float(np.linalg.norm(x, 2)))
        terms = [c * eye, (x - eye) / c, -c * y, (x - x @ x) / c]
    kinds = ("upper", "lower") if first == "upper" else ("lower", "upper")
    return [
        (kind, term @ back if kind == "upper" else r @ term)
        for kind, term in zip(kinds * 2, terms, strict=True)
    ]


def _collect(parts: Sequence[Part], n: int) -> Couplings:
    """Unit triangular factors, and scales of both halves, as coupling pairs.

    A pair is held as `L(A) diag(p, q) U(D)`, in which C = p, B = q and p D is the upper block.
    """
    pairs, has_upper = [], True
    for kind, value in parts:
        if has_upper and kind == "lower" or not pairs:
            pairs.append([np.zeros((n, n)), np.ones(n), np.ones(n), np.zeros((n, n))])
            has_upper = False
        pair = pairs[-1]
        a, q, p, d = pair
        if kind == "lower":
            pair[0] = a + q[:, None] * value / p
        elif kind == "upper":
            pair[3], has_upper = d + value, True
        else:
            first, second = value
            pair[1:] = q * second, p * first, d / first[:, None] * second
    for pair in pairs:
        pair[3] = pair[2][:, None] * pair[3]
    return Couplings(*map(np.stack, zip(*pairs, strict=True)))
