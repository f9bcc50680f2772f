"""Optax transformations that are a formula for one matrix and its bias, for all selected ones."""

from collections.abc import Callable, Iterable, Mapping
import types
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from flowzoo.relative.selection import as_patterns, leaves_by_path, on_selected, select

BIAS_NAMES: Mapping[str, str] = types.MappingProxyType(
    {"kernel": "bias", "weight": "bias", "w": "b", "W": "b"}
)
Layout = Literal["in_out", "out_in"]


def per_matrix(
    formula: Callable,
    weights: str | Iterable[str],
    *,
    layout: Layout,
    bias_names: Mapping[str, str] = BIAS_NAMES,
) -> optax.GradientTransformationExtraArgs:
    """Replaces the updates (G, g) of each selected matrix and its bias by `formula(W, b, G, g)`.

    Args:
      formula: takes and returns arrays in column-vector notation, `W, G: [..., D, D]` (out, in) and
        `b, g: [..., D]`, in float32 at least. No bias is a bias of zero whose update is zero.
      weights: paths of the matrices, as in `flowzoo.scale_by_relative_gradient`.
      layout: axes of the stored matrices, "in_out" or "out_in".
      bias_names: name of a matrix -> name of the bias beside it.

    Raises:
      ValueError: unknown layout, or no path given; in `init` and `update`: a path that matches
        nothing, a selected leaf that is not square, a bias of another size or shared by two
        matrices; in `update`: no `params`.
    """
    patterns = as_patterns(weights)
    if layout not in ("in_out", "out_in"):
        raise ValueError(f"The layout is {layout!r}, expected 'in_out' or 'out_in'.")

    def change(chosen, values, new):
        for weight, bias in chosen.items():
            if weight not in new:
                continue
            arguments = values[weight], values.get(bias), new[weight], new.get(bias)
            new[weight], new_bias = _apply(formula, layout, *arguments)
            if new_bias is not None:
                new[bias] = new_bias

    return on_selected(lambda leaves: select(leaves, patterns, bias_names), change)


def _apply(formula, layout, weight, bias, weight_update, bias_update):
    """The formula's result in the layout and the dtypes of the updates; no bias without g."""
    dtype = jnp.promote_types(jnp.result_type(weight, weight_update), jnp.float32)
    w, grad = jnp.asarray(weight, dtype), jnp.asarray(weight_update, dtype)
    if layout == "in_out":
        w, grad = w.mT, grad.mT
    b = jnp.zeros(w.shape[:-1], dtype) if bias_update is None else jnp.asarray(bias, dtype)
    g = jnp.zeros_like(b) if bias_update is None else jnp.asarray(bias_update, dtype)
    dw, db = formula(w, b, grad, g)
    if layout == "in_out":
        dw = dw.mT
    return (
        dw.astype(weight_update.dtype),
        None if bias_update is None else db.astype(bias_update.dtype),
    )


def selected(
    weights: str | Iterable[str],
    bias_names: Mapping[str, str] = BIAS_NAMES,
    *,
    matrices: bool = True,
    biases: bool = True,
) -> Callable[[optax.Params], optax.Params]:
    """A mask for `optax.masked`: True at the selected matrices and at the biases beside them."""
    patterns = as_patterns(weights)

    def mask(params: optax.Params) -> optax.Params:
        leaves = leaves_by_path(params)
        chosen = select(leaves, patterns, bias_names) if leaves else {}
        members = {*(chosen if matrices else ()), *(chosen.values() if biases else ())}
        return jax.tree.structure(params).unflatten([path in members for path in leaves])

    return mask
