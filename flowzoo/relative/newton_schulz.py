"""Orthogonalisation of a matrix by products alone."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

# Of Jordan et al.'s Muon: the steepest slope at zero for which the iterates of (0, 1] end up near
# 1, between 0.68 and 1.13, instead of at it.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
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
    x = normalize(matrix, (-2, -1))
    for _ in range(num_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


def normalize(array: jax.Array, axes: int | tuple[int, ...]) -> jax.Array:
    """`a / ‖a‖` over some axes, 0 where a is; also where the squares would under- or overflow."""
    tiny = jnp.finfo(array.dtype).tiny
    array = array / jnp.maximum(jnp.abs(array).max(axes, keepdims=True), tiny)
    return array / jnp.maximum(jnp.sqrt((array**2).sum(axes, keepdims=True)), tiny)
