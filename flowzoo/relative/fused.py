"""The fused relative gradient: `W x + b` and `log|det W|` with gradients that need no inverse.

A layer is `y = W x + b` with `weight` W: [D, D], stored (out, in), and `bias` b: [D] or None. In
arrays `Y = X Wᵀ + b` and `Δ = ∂loss/∂Y`, both [B, D], and the ordinary gradients are `G = Δᵀ X`,
`g = Δᵀ 1` and, for the log-determinant, `W^{-T}`. The rules replace them by::

  relative     ΔW = (G Wᵀ + g bᵀ) W = Δᵀ (Y W)    Δb = (G Wᵀ + g bᵀ) b + g = Δᵀ (Y b + 1)
               and `log|det W|` contributes (W, b)
  relative_radial
               the same numbers where the loss depends on each row of Y only through its length, as
               under a standard normal: Δ = diag(s) Y, hence ΔW = Yᵀ (Δ W)
  transposed   ΔW = W Wᵀ G = (Δ W Wᵀ)ᵀ X          Δb = g
               and `log|det W|` contributes (W, 0)
  data_terms   ΔW = G, Δb = g, and `log|det W|` contributes nothing
  ordinary     what autodiff gives: G, g and (W^{-T}, 0)
  multiplicative
               E = G Wᵀ + g bᵀ = Δᵀ Y and g, the gradient of the factor by which W changes, for
               optimizers that multiply by W themselves; `log|det W|` contributes (I, 0)
  log_det_count
               nothing, except that `log|det W|` contributes 1 to the first entry of ΔW: not for
               training, but to count how often, and with which sign, a flow's log-determinant holds
               that of a layer

The gradient in x is the ordinary one under every rule. `relative` and `transposed` are the ordinary
gradient multiplied by a positive definite metric, hence descent directions with the same zeros.

Multiply-adds per layer, for a batch of B: backpropagation takes 3 B D², and 2 B D² in a first
layer, whose input needs no gradient. `relative` needs Y W as well, 4 B D² (first layer: 3 B D²).
`relative_radial` takes 3 B D², because Δ W serves as both. XLA's CPU backend multiplies at the same
speed in all these layouts, so that the number of products is what counts.

Source: Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient optimization of the
Jacobian term in unsupervised deep learning", arXiv 2006.15090, equations 15, 20–21 and 30–33. The
last equation's `b` is missing from the authors' code; without it the fixed points are not those of
the likelihood.
"""

import functools

import jax
import jax.numpy as jnp

from flowzoo.relative import multiplicative

RULES = (
    "ordinary",
    "relative",
    "relative_radial",
    "transposed",
    "data_terms",
    "multiplicative",
    "log_det_count",
)


def check_rule(rule: str) -> None:
    """Raises ValueError unless `rule` is one of `RULES`."""
    if rule not in RULES:
        raise ValueError(f"The gradient rule is {rule!r}, expected one of {', '.join(RULES)}.")


def affine(
    x: jax.Array, weight: jax.Array, bias: jax.Array | None, rule: str = "ordinary"
) -> jax.Array:
    """`y = W x + b`, differentiated by `rule`.

    Args:
      x: `[..., D]`.
      weight: `[D, D]`, (out, in).
      bias: `[D]` or None.
      rule: one of `RULES`; `relative_radial` is a wrong gradient unless `Δᵀ Y` is symmetric.

    Returns:
      `y: [..., D]`.
    """
    check_rule(rule)
    # Cast here, where autodiff casts the gradients back.
    dtype = jnp.result_type(*jax.tree.leaves((x, weight, bias)))
    x, weight, bias = jax.tree.map(lambda a: jnp.asarray(a, dtype), (x, weight, bias))
    if rule == "relative":
        return _relative_affine(x, weight, bias)
    if rule == "relative_radial":
        return _radial_affine(x, weight, bias)
    if rule == "transposed":
        return _transposed_affine(x, weight, bias)
    if rule == "multiplicative":
        return multiplicative.affine(x, weight, bias)
    if rule == "log_det_count":
        weight, bias = jax.lax.stop_gradient((weight, bias))
    return _affine(x, weight, bias)


def log_abs_det(
    weight: jax.Array,
    bias: jax.Array | None,
    rule: str = "ordinary",
    lu: jax.Array | None = None,
) -> jax.Array:
    """`log|det W|` in nats, differentiated by `rule`; only the relative rules involve `bias`.

    Under every rule but the ordinary one the gradient does not depend on the value, so that a
    program that asks for the gradient alone compiles to one without a factorisation.

    Args:
      weight: `[D, D]`.
      bias: `[D]` or None.
      rule: one of `RULES`.
      lu: W's triangular factors in one matrix, as `jax.scipy.linalg.lu_factor` returns them, if
        they are known.
    """
    check_rule(rule)

    def value(weight, lu):
        if lu is None:
            return jnp.linalg.slogdet(weight)[1]
        return jnp.log(jnp.abs(jnp.diagonal(lu))).sum()

    if rule == "ordinary":
        return value(weight, lu)
    log_det = value(*jax.lax.stop_gradient((weight, lu)))
    return _with_gradient(log_det, weight, bias, rule)


def _affine(x, weight, bias):
    y = x @ weight.T
    return y if bias is None else y + bias


def _rows(a: jax.Array) -> jax.Array:
    return a.reshape(-1, a.shape[-1])


@jax.custom_vjp
def _relative_affine(x, weight, bias):
    return _affine(x, weight, bias)


def _relative_forward(x, weight, bias):
    y = _affine(x.value, weight.value, None if bias is None else bias.value)
    # Whether x needs a gradient is known while tracing; None and () carry it as tree structure.
    return y, (y, weight.value, None if bias is None else bias.value, () if x.perturbed else None)


def _relative_backward(residuals, delta):
    y, weight, bias, x_perturbed = residuals
    shape = y.shape
    delta, y = _rows(delta), _rows(y)
    if x_perturbed is None:
        dx, yw = None, y @ weight
    else:
        # One product reads W once; it measures the same as two or a little better.
        dx, yw = jnp.stack([delta, y]) @ weight
        dx = dx.reshape(shape)
    return dx, delta.T @ yw, _relative_dbias(y, bias, delta)


def _relative_dbias(y, bias, delta):
    return None if bias is None else (y @ bias + 1) @ delta


_relative_affine.defvjp(_relative_forward, _relative_backward, symbolic_zeros=True)


@jax.custom_vjp
def _radial_affine(x, weight, bias):
    return _affine(x, weight, bias)


def _radial_forward(x, weight, bias):
    y = _affine(x, weight, bias)
    return y, (y, weight, bias)


def _radial_backward(residuals, delta):
    y, weight, bias = residuals
    dx = delta @ weight
    delta, y = _rows(delta), _rows(y)
    return dx, y.T @ _rows(dx), _relative_dbias(y, bias, delta)


_radial_affine.defvjp(_radial_forward, _radial_backward)


@jax.custom_vjp
def _transposed_affine(x, weight, bias):
    return _affine(x, weight, bias)


def _transposed_forward(x, weight, bias):
    return _affine(x, weight, bias), (x, weight, bias)


def _transposed_backward(residuals, delta):
    x, weight, bias = residuals
    dx = delta @ weight
    dweight = (_rows(dx) @ weight.T).T @ _rows(x)
    return dx, dweight, None if bias is None else _rows(delta).sum(0)


_transposed_affine.defvjp(_transposed_forward, _transposed_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _with_gradient(log_det, weight, bias, rule):
    return log_det


def _with_gradient_forward(log_det, weight, bias, rule):
    return log_det, (weight, bias)


def _with_gradient_backward(rule, residuals, cotangent):
    weight, bias = residuals
    if rule == "data_terms":
        dweight = jnp.zeros_like(weight)
    elif rule == "log_det_count":
        dweight = jnp.zeros_like(weight).at[0, 0].set(cotangent)
    elif rule == "multiplicative":
        dweight = cotangent * jnp.eye(len(weight), dtype=weight.dtype)
    else:
        dweight = cotangent * weight
    if bias is None:
        return None, dweight, None
    relative = rule in ("relative", "relative_radial")
    return None, dweight, cotangent * bias if relative else jnp.zeros_like(bias)


_with_gradient.defvjp(_with_gradient_forward, _with_gradient_backward)
