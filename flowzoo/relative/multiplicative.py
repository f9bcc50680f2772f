"""The fused rule in multiplicative coordinates: the gradient of the factor by which W changes.

A step of an invertible layer `y = W x + b` is a multiplication, `W ← (I − η E) W` and
`b ← b − η (E b + g)`. In arrays, with `Y = X Wᵀ + b` and `Δ = ∂loss/∂Y`, both [B, D],

  multiplicative   E = G Wᵀ + g bᵀ = Δᵀ Y    g = Δᵀ 1
                   and `log|det W|` contributes (I, 0)

takes the place of the ordinary gradient (G, g). `(E W, E b + g)` is the relative gradient, which an
optimizer in these coordinates forms last, after whatever it does to E.

Multiply-adds per layer: 3 B D², as plain backpropagation, and 2 B D² in a first layer: a product
less than the relative rule, because neither the input nor Y W is needed.

Source: as `flowzoo.relative.fused`; the derivation is in docs/method_multiplicative.md.
"""

import jax


@jax.custom_vjp
def affine(x: jax.Array, weight: jax.Array, bias: jax.Array | None) -> jax.Array:
    """`y = W x + b`, `[..., D]`; the cotangents of (W, b) are (E, g)."""
    y = x @ weight.T
    return y if bias is None else y + bias


def _forward(x, weight, bias):
    y = affine(x.value, weight.value, None if bias is None else bias.value)
    # Whether x needs a gradient is known while tracing; None and () carry it as tree structure.
    needed = () if x.perturbed else None
    return y, (y, weight.value, None if bias is None else (), needed)


def _backward(residuals, delta):
    y, weight, bias, needed = residuals
    rows = delta.reshape(-1, delta.shape[-1])
    dx = None if needed is None else delta @ weight
    return dx, rows.T @ y.reshape(rows.shape), None if bias is None else rows.sum(0)


affine.defvjp(_forward, _backward, symbolic_zeros=True)
