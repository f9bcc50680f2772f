"""The fused rules for a layer used backwards: `x = W⁻¹ (z − b)`, differentiated in W and b.

As `flowzoo.relative.fused`, for the map that an `Inverse` makes of a dense layer. In arrays
`X = (Z − b) W⁻ᵀ` and `Δ = ∂loss/∂X`, both [B, D]; backpropagation passes on `Γ = ∂loss/∂Z = Δ W⁻¹`.
The ordinary gradients are `G = −Γᵀ X` and `g = −Γᵀ 1`, and for the log-determinant `−log|det W|` of
this map `−W⁻ᵀ`. The map becomes `x + E x + e` where W becomes `W (I − E)` and b becomes `b − W e`:
what is left of `W⁻¹` is right of W, so that the two sides change places.

  relative     ΔW = W Wᵀ G = −W (Δᵀ X)       Δb = W Wᵀ g = −W (Δᵀ 1)
               and `log|det W|` contributes (W, 0)
  transposed   ΔW = (G Wᵀ + g bᵀ) W = −(Γᵀ Z) W      Δb = (G Wᵀ + g bᵀ) b + g = −Γᵀ (Z b + 1)
               and `log|det W|` contributes (W, b)
  multiplicative
               E = G Wᵀ + g bᵀ = −Γᵀ Z and g; `log|det W|` contributes (I, 0)
  data_terms   ΔW = G, Δb = g, and `log|det W|` contributes nothing

All are products of B D², no inverse besides the factorisation that the map itself takes, and exact
projections for weight and bias together. The metrics of `relative` and `transposed` are positive
definite: `<(G, g), (ΔW, Δb)> = ||Wᵀ G||² + ||Wᵀ g||²` and `||G Wᵀ + g bᵀ||² + ||g||²`.

Source: Gresele et al., arXiv 2006.15090, sections 3 and 4, for the two sides of a perturbation.
"""

import functools

import jax
import jax.numpy as jnp

Factors = tuple[jax.Array, jax.Array]

# What the log-determinant of W contributes to is the other side's rule.
OTHER_SIDE = {"relative": "transposed", "relative_radial": "transposed", "transposed": "relative"}


def inverse_affine(
    z: jax.Array,
    weight: jax.Array,
    bias: jax.Array | None,
    factors: Factors,
    rule: str = "ordinary",
) -> jax.Array:
    """`x = W⁻¹ (z − b)`, differentiated by `rule`.

    Args:
      z: `[..., D]`.
      weight: `[D, D]`, (out, in).
      bias: `[D]` or None.
      factors: of W, by `jax.scipy.linalg.lu_factor`.
      rule: one of `flowzoo.relative.RULES`; `relative_radial` is `relative` here.

    Returns:
      `x: [..., D]`.
    """
    if rule == "ordinary":
        return _solve(z, bias, factors)
    if rule == "log_det_count":
        return _solve(z, *jax.lax.stop_gradient((bias, factors)))
    # Cast here, where autodiff casts the gradients back.
    dtype = jnp.result_type(*jax.tree.leaves((z, weight, bias)))
    z, weight, bias = jax.tree.map(lambda a: jnp.asarray(a, dtype), (z, weight, bias))
    lu, pivots = jax.lax.stop_gradient(factors)
    return _inverse_affine(z, weight, bias, (lu.astype(dtype), pivots), rule)


def _solve(z, bias, factors, transposed=0):
    y = z if bias is None else z - bias
    columns = y.reshape(-1, y.shape[-1]).T
    return jax.scipy.linalg.lu_solve(factors, columns, trans=transposed).T.reshape(y.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _inverse_affine(z, weight, bias, factors, rule):
    return _solve(z, bias, factors)


def _forward(z, weight, bias, factors, rule):
    x = _solve(z, bias, factors)
    # Of z and x a rule needs one; the other costs no memory in a compiled program.
    return x, (z, x, weight, bias, factors)


def _backward(rule, residuals, delta):
    z, x, weight, bias, factors = residuals
    gamma = _solve(delta, None, factors, transposed=1)
    rows, z, x, dz = (a.reshape(-1, a.shape[-1]) for a in (delta, z, x, gamma))
    if rule in ("relative", "relative_radial"):
        dweight, dbias = -weight @ (rows.T @ x), -weight @ rows.sum(0)
    elif rule == "transposed":
        dweight = -(dz.T @ z) @ weight
        dbias = None if bias is None else -dz.T @ (z @ bias + 1)
    else:
        dweight, dbias = -dz.T @ (z if rule == "multiplicative" else x), -dz.sum(0)
    return gamma, dweight, None if bias is None else dbias, None


_inverse_affine.defvjp(_forward, _backward)
