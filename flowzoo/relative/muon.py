"""Relative Muon: steepest descent in the spectral norm of the factor by which W changes."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from flowzoo.relative.per_matrix import BIAS_NAMES, Layout, selected
from flowzoo.relative.perturbations import from_perturbations, to_perturbations
from flowzoo.relative.spectrum import clip_spectrum, normalize, orthogonalize


def scale_by_relative_muon(
    weights: str | Iterable[str],
    *,
    layout: Layout,
    momentum: float | jax.Array = 0.9,
    nesterov: bool = False,
    rank: int | None = None,
    ns_steps: int = 5,
    add_log_det: float | jax.Array = 0.0,
    gradients: str = "ordinary",
    accumulator_dtype: Any = None,
    bias_names: Mapping[str, str] = BIAS_NAMES,
) -> optax.GradientTransformationExtraArgs:
    """Turns the gradients of the selected matrices and their biases into orthogonal perturbations.

    With `E = G Wᵀ + g bᵀ − c I`, `c = add_log_det`, and the Newton–Schulz orthogonalisation NS,

        M ← β M + E        ΔW = NS(M) W
        m ← β m + g        Δb = NS(M) b + m / ‖m‖

    A step `W ← W − η ΔW` is the multiplication by `I − η NS(M)`, which is invertible for every
    gradient as long as η < 0.83: `σ_min(W)` shrinks by the factor `1 − 1.2024 η` at most.
    Equivariant: data `A x + a` in place of x give the same curve, from layers that start at the
    same outputs. No matrix inverse; `3 ns_steps + 1` products of D × D a step and layer, and one
    more for `G Wᵀ` if the gradients are ordinary. All other leaves pass through; each update keeps
    its gradient's dtype.

    >>> import jax, jax.numpy as jnp, optax
    >>> x = jax.random.normal(jax.random.key(0), (500, 2)) * jnp.array([1.0, 1e3])
    >>> def data_terms(params):
    ...     z = x @ params["kernel"] + params["bias"]
    ...     return 0.5 * jnp.mean(jnp.sum(z**2, -1))  # the loss is this - log|det kernel|
    >>> params = {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}
    >>> optimizer = optax.chain(
    ...     scale_by_relative_muon("kernel", layout="in_out", momentum=0.5, add_log_det=1.0),
    ...     optax.scale_by_learning_rate(optax.linear_schedule(0.3, 0.0, 100)),
    ... )
    >>> state = optimizer.init(params)
    >>> @jax.jit
    ... def step(params, state):
    ...     updates, state = optimizer.update(jax.grad(data_terms)(params), state, params)
    ...     return optax.apply_updates(params, updates), state
    >>> for _ in range(100):
    ...     params, state = step(params, state)
    >>> z = x @ params["kernel"] + params["bias"]  # the maximum of the likelihood whitens x
    >>> bool(jnp.allclose(jnp.cov(z.T, bias=True), jnp.eye(2), atol=0.02))
    True

    Args:
      weights, layout, bias_names: as in `flowzoo.scale_by_relative_gradient`; leading axes of a
        matrix are stacked layers, each by itself.
      momentum: β.
      nesterov: whether to orthogonalise `β M + E` instead of M.
      rank: r; not the whole spectrum of M but its r largest singular values are brought to one
        value, and the others keep their proportion to them: `U min(S/s_r, 1) Vᵀ` in the place of
        NS(M). That costs one product of D × D a layer, `E W`, and `3 r D²` multiply-adds; r = D/8
        trains about as well. The bound on `σ_min(W)` then holds as far as the singular vectors are
        known from the step before.
      ns_steps: of Newton–Schulz.
      add_log_det: c, as in `flowzoo.scale_by_relative_gradient`.
      gradients: "ordinary", or "multiplicative" if (E, g) come in the gradients' place; see
        `flowzoo.relative.to_perturbations`.
      accumulator_dtype: of M and m, by default the gradients'.

    Raises:
      ValueError: as `to_perturbations`.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, in the
    coordinates of Gresele et al., arXiv 2006.15090; docs/method_multiplicative.md.
    """

    if rank is None:
        spectrum = optax.stateless_with_tree_map(
            lambda m, _: _at_least_float32(orthogonalize, m, ns_steps)
        )
    else:
        spectrum = scale_by_clipped_spectrum(rank, transposed=layout == "in_out")
    units = optax.stateless_with_tree_map(lambda g, _: _at_least_float32(normalize, g, -1))
    place = dict(layout=layout, bias_names=bias_names)
    return optax.chain(
        to_perturbations(weights, add_log_det=add_log_det, gradients=gradients, **place),
        optax.masked(
            optax.trace(momentum, nesterov=nesterov, accumulator_dtype=accumulator_dtype),
            selected(weights, bias_names),
        ),
        optax.masked(spectrum, selected(weights, bias_names, biases=False)),
        optax.masked(units, selected(weights, bias_names, matrices=False)),
        from_perturbations(weights, **place),
    )


class ClippedSpectrumState(NamedTuple):
    """The right singular vectors of the largest singular values, `[..., D, r]` for each matrix."""

    basis: optax.Params


def scale_by_clipped_spectrum(
    rank: int, *, transposed: bool = False
) -> optax.GradientTransformation:
    """`U S Vᵀ → U min(S/s_r, 1) Vᵀ` for all leaves, `[..., D, D]`; r is at most D.

    See `flowzoo.relative.spectrum.clip_spectrum`, which is given the matrices, or their transposes.

    Raises:
      ValueError: if r is not positive.
    """
    if rank < 1:
        raise ValueError(f"The rank is {rank}, expected at least 1, or None for all of them.")

    def init(params):
        def start(weight):
            dim, dtype = weight.shape[-1], jnp.promote_types(weight.dtype, jnp.float32)
            basis = jax.random.normal(jax.random.key(0), (dim, min(rank, dim)), dtype)
            return jnp.broadcast_to(basis, (*weight.shape[:-1], min(rank, dim)))

        return ClippedSpectrumState(jax.tree.map(start, params))

    def update(updates, state, params=None):
        del params
        leaves, structure = jax.tree.flatten(updates)
        new, bases = [], []
        for leaf, basis in zip(leaves, structure.flatten_up_to(state.basis), strict=True):
            matrix = leaf.astype(basis.dtype)
            clipped, basis = clip_spectrum(matrix.mT if transposed else matrix, basis)
            new.append((clipped.mT if transposed else clipped).astype(leaf.dtype))
            bases.append(basis)
        return structure.unflatten(new), ClippedSpectrumState(structure.unflatten(bases))

    return optax.GradientTransformation(init, update)


def _at_least_float32(function: Callable, array: jax.Array, *args) -> jax.Array:
    dtype = jnp.promote_types(array.dtype, jnp.float32)
    return function(array.astype(dtype), *args).astype(array.dtype)


def relative_muon(
    learning_rate: optax.ScalarOrSchedule,
    weights: str | Iterable[str],
    *,
    layout: Layout,
    momentum: float | jax.Array = 0.9,
    nesterov: bool = False,
    rank: int | None = None,
    ns_steps: int = 5,
    add_log_det: float | jax.Array = 0.0,
    gradients: str = "ordinary",
    accumulator_dtype: Any = None,
    bias_names: Mapping[str, str] = BIAS_NAMES,
    adam_learning_rate: optax.ScalarOrSchedule | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """Relative Muon for the selected matrices and their biases, Adam for everything else.

    >>> import jax.numpy as jnp
    >>> params = {"linear": {"w": jnp.eye(2), "b": jnp.zeros(2)}, "log_scale": jnp.zeros(2)}
    >>> optimizer = relative_muon(0.03, "linear/w", layout="in_out", adam_learning_rate=1e-3)
    >>> state = optimizer.init(params)

    Args:
      learning_rate: η of the selected, a number or a schedule below 0.83: the relative length of a
        step. 0.01 to 0.1 are good ones.
      weights, layout, momentum, nesterov, rank, ns_steps, add_log_det, gradients,
        accumulator_dtype, bias_names: as in `scale_by_relative_muon`.
      adam_learning_rate: of everything else, by default `learning_rate`.
      b1, b2, eps: as in `optax.scale_by_adam`.

    Raises:
      ValueError: as `scale_by_relative_muon`.
    """
    muon = scale_by_relative_muon(
        weights,
        layout=layout,
        momentum=momentum,
        nesterov=nesterov,
        rank=rank,
        ns_steps=ns_steps,
        add_log_det=add_log_det,
        gradients=gradients,
        accumulator_dtype=accumulator_dtype,
        bias_names=bias_names,
    )
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    return with_rest(
        optax.chain(muon, optax.scale_by_learning_rate(learning_rate)),
        optax.adam(rate, b1=b1, b2=b2, eps=eps),
        selected(weights, bias_names),
    )


def with_rest(
    dense: optax.GradientTransformation,
    rest: optax.GradientTransformation,
    mask: Callable[[optax.Params], optax.Params],
) -> optax.GradientTransformationExtraArgs:
    """`dense` for the parameters at which the mask is True, `rest` for all others."""

    def labels(params: optax.Params) -> optax.Params:
        return jax.tree.map(lambda chosen: "dense" if chosen else "rest", mask(params))

    return optax.partition({"dense": dense, "rest": rest}, labels)
