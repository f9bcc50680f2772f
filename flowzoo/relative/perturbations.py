"""Multiplicative coordinates: from gradients to perturbations of the identity and back to steps.

A step of a layer `y = W x + b` is the multiplication of its augmented matrix `[[W, b], [0, 1]]`
from the left by `I − η [[Ê, ĝ], [0, 0]]`:

    W ← (I − η Ê) W        b ← b − η (Ê b + ĝ)

The gradient with respect to that factor, at the identity, is

    E = G Wᵀ + g bᵀ        and g for the bias

with the ordinary gradient (G, g); a term `−log|det W|` of the loss contributes −I to E. Between the
two transformations of this module stands whatever an optimizer does to (E, g). All of it is then
equivariant: with data `A x + a` in place of x, and layers that start at `W A⁻¹` and `b − W A⁻¹ a`,
y is the same, hence E and g, hence the whole curve of the training.

    optax.chain(to_perturbations(…), anything, from_perturbations(…), optax.scale(-rate))

With nothing in between this is the relative gradient, `(E W, E b + g)`.

Source: Cardoso, Laheld, "Equivariant adaptive source separation", IEEE Transactions on Signal
Processing 1996; Gresele et al., arXiv 2006.15090, section 3 and appendix F; the derivation is in
docs/method_multiplicative.md.
"""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import optax

from flowzoo.relative.per_matrix import BIAS_NAMES, Layout, per_matrix

COORDINATES = ("ordinary", "multiplicative")


def to_perturbations(
    weights: str | Iterable[str],
    *,
    layout: Layout,
    add_log_det: float | jax.Array = 0.0,
    gradients: str = "ordinary",
    bias_names: Mapping[str, str] = BIAS_NAMES,
) -> optax.GradientTransformationExtraArgs:
    """`(G, g) → (E, g)`, `E = G Wᵀ + g bᵀ − c I` with `c = add_log_det`, for selected matrices.

    No inverse, three products of D × D at most. All other leaves pass through.

    >>> import jax.numpy as jnp
    >>> params = {"w": 2 * jnp.eye(2), "b": jnp.ones(2)}
    >>> to = to_perturbations("w", layout="in_out", add_log_det=1.0)
    >>> gradients = {"w": jnp.eye(2), "b": jnp.zeros(2)}
    >>> perturbations, _ = to.update(gradients, to.init(params), params)
    >>> perturbations["w"].tolist()
    [[1.0, 0.0], [0.0, 1.0]]

    Args:
      weights, layout, bias_names: as in `flowzoo.scale_by_relative_gradient`. E is stored in the
        layout of its matrix: transposed for "in_out".
      add_log_det: c, as there: the coefficient of `−log|det W|` in the loss for the part of it that
        is *not* in the gradients.
      gradients: "ordinary": those that come are G, g. "multiplicative": they are (E, g) as they
        are, from the gradient rule of that name (`flowzoo.relative.multiplicative`), and only the
        identity is subtracted.

    Raises:
      ValueError: an unknown kind of gradients; and as `flowzoo.scale_by_relative_gradient`.
    """
    if gradients not in COORDINATES:
        raise ValueError(
            f"The gradients are {gradients!r}, expected {' or '.join(map(repr, COORDINATES))}."
        )

    def formula(w, b, grad, g):
        if gradients == "ordinary":
            grad = grad @ w.mT + g[..., :, None] * b[..., None, :]
        return grad - add_log_det * jnp.eye(w.shape[-1], dtype=w.dtype), g

    return per_matrix(formula, weights, layout=layout, bias_names=bias_names)


def from_perturbations(
    weights: str | Iterable[str],
    *,
    layout: Layout,
    bias_names: Mapping[str, str] = BIAS_NAMES,
) -> optax.GradientTransformationExtraArgs:
    """`(Ê, ĝ) → (Ê W, Ê b + ĝ)` for selected matrices: the update that is a multiplication.

    Where `η ‖Ê‖₂ < 1`, a step of the learning rate η leaves W invertible:
    `σ_min((I − η Ê) W) >= (1 − η ‖Ê‖₂) σ_min(W)`.

    Args:
      weights, layout, bias_names: as in `to_perturbations`.

    Raises:
      ValueError: as `to_perturbations`.
    """

    def formula(w, b, perturbation, g):
        return perturbation @ w, jnp.matvec(perturbation, b) + g

    return per_matrix(formula, weights, layout=layout, bias_names=bias_names)
