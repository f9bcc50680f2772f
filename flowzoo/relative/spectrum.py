"""Orthogonalisation of matrices: of the whole spectrum by products alone, or of its top."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

# Of Jordan et al.'s Muon: the steepest slope at zero for which the iterates of (0, 1] end up near
# 1, between 0.68 and 1.13, instead of at it.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
# Beside those of a matrix's largest singular values before.
NEW_DIRECTIONS = 4
# The largest value of the polynomial on [0, 1], which no iterate exceeds.
LARGEST = 1.2024


def orthogonalize(
    matrix: jax.Array,
    num_steps: int = 5,
    coefficients: Sequence[float] = COEFFICIENTS,
) -> jax.Array:
    """`U S Vᵀ → U p(S) Vᵀ`, all p(s) near 1: Newton–Schulz steps from `X = M / ‖M‖_F`,

        X ← a X + (b A + c A²) X,    A = X Xᵀ.

    Singular values above about 5e-4 of the norm come to lie in [0.68, 1.13] after five steps, those
    below are multiplied by up to 3.4445⁵ = 485; none exceeds 1.2024. The factor of M does not
    matter. Three products of D³ a step.

    Args:
      matrix: `[..., D, D]`, each by itself.
      num_steps: how many steps.
      coefficients: (a, b, c).

    Source: Jordan, Jin, Boza, You, Cesista, Newhouse, Bernstein, "Muon: an optimizer for hidden
    layers in neural networks", 2024; Bernstein, Newhouse, "Old optimizer, new norm: an anthology",
    arXiv 2409.20325.
    """
    a, b, c = coefficients

    def step(_, x):
        gram = x @ x.mT
        return a * x + (b * gram + c * (gram @ gram)) @ x

    # Under `optax.inject_hyperparams` the number of steps is an array.
    unroll = True if isinstance(num_steps, int) else None
    return jax.lax.fori_loop(0, num_steps, step, normalize(matrix, (-2, -1)), unroll=unroll)


def clip_spectrum(matrix: jax.Array, basis: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`U S Vᵀ → U min(S/s_r, 1) Vᵀ`: the r largest singular values become one, the others keep
    their proportion to them.

    This is the best step under a bound on the spectral norm and a price on the Frobenius norm,
    `argmax <M, E> − s_r ‖E‖_F² / 2` over `‖E‖₂ <= 1`. One step of subspace iteration finds the top
    of the spectrum, so that it is exact as far as M's singular vectors were those before:

        P = orth(M [Q R])    Mᵀ P = A diag(s) Bᵀ    E = M/s_r − P B diag(max(s/s_r − 1, 0)) Aᵀ

    The random directions R, four of them, find what is new in M: where none of its singular vectors
    are those before, `‖E‖₂` stays below about 2. For the sake of single precision s_r is at least
    s_1/10⁴. `3 r D²` multiply-adds and factorisations of `D × r`, instead of the `15 D³` of five
    Newton–Schulz steps.

    Args:
      matrix: M: `[..., D, D]`, each by itself.
      basis: Q: `[..., D, r]`.

    Returns:
      E, and the first r columns of A, the next Q.

    Source: for the subspace iteration in an optimizer, Ahn, Xu, Abreu, Langford, "Dion: distributed
    orthonormalized updates", arXiv 2504.05295, which leaves the rest of the spectrum out.
    """
    *batch, dim, rank = basis.shape
    new = jax.random.normal(jax.random.key(1), (dim, NEW_DIRECTIONS), basis.dtype)
    new = jnp.broadcast_to(new, (*batch, *new.shape))
    left = jnp.linalg.qr(matrix @ jnp.concatenate([basis, new], -1))[0]
    right, size, turn = jnp.linalg.svd(matrix.mT @ left, full_matrices=False)
    unit = jnp.maximum(size[..., rank - 1], size[..., 0] / 1e4)
    unit = jnp.maximum(unit, jnp.finfo(matrix.dtype).tiny)[..., None]
    excess = left @ (turn.mT * jnp.maximum(size / unit - 1, 0)[..., None, :])
    return matrix / unit[..., None] - excess @ right.mT, right[..., :rank]


def normalize(array: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    """`a / ‖a‖` over some axes, 0 where a is; also where the squares would under- or overflow."""
    tiny = jnp.finfo(array.dtype).tiny
    array = array / jnp.maximum(jnp.abs(array).max(axes, keepdims=True), tiny)
    return array / jnp.maximum(jnp.sqrt((array**2).sum(axes, keepdims=True)), tiny)
