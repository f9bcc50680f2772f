"""Relative Muon: steepest descent in the spectral norm of the factor by which W changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import optax

from flowzoo.relative.newton_schulz import COEFFICIENTS, normalize, orthogonalize
from flowzoo.relative.per_matrix import BIAS_NAMES, Layout, per_matrix, selected
from flowzoo.relative.perturbations import from_perturbations, to_perturbations


def scale_by_relative_muon(
    weights: str | Iterable[str],
    *,
    layout: Layout,
    momentum: float | jax.Array = 0.9,
    nesterov: bool = False,
    ns_steps: int = 5,
    ns_coefficients: Sequence[float] = COEFFICIENTS,
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
    >>> for _ in range(100):
    ...     updates, state = optimizer.update(jax.grad(data_terms)(params), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> z = x @ params["kernel"] + params["bias"]  # the maximum of the likelihood whitens x
    >>> bool(jnp.allclose(jnp.cov(z.T, bias=True), jnp.eye(2), atol=0.02))
    True

    Args:
      weights, layout, bias_names: as in `flowzoo.scale_by_relative_gradient`; leading axes of a
        matrix are stacked layers, each by itself.
      momentum: β.
      nesterov: whether to orthogonalise `β M + E` instead of M.
      ns_steps, ns_coefficients: of the iteration, see `flowzoo.relative.newton_schulz`.
      add_log_det: c, as in `flowzoo.scale_by_relative_gradient`.
      gradients: "ordinary", or "multiplicative" if (E, g) come in the gradients' place; see
        `flowzoo.relative.to_perturbations`.
      accumulator_dtype: of M and m, by default the gradients'.

    Raises:
      ValueError: as `to_perturbations`.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024, in the
    coordinates of Gresele et al., arXiv 2006.15090; docs/method_multiplicative.md.
    """

    def formula(w, b, m, g):
        return orthogonalize(m, ns_steps, ns_coefficients), normalize(g, -1)

    place = dict(layout=layout, bias_names=bias_names)
    return optax.chain(
        to_perturbations(weights, add_log_det=add_log_det, gradients=gradients, **place),
        optax.masked(
            optax.trace(momentum, nesterov=nesterov, accumulator_dtype=accumulator_dtype),
            selected(weights, bias_names),
        ),
        per_matrix(formula, weights, **place),
        from_perturbations(weights, **place),
    )


def relative_muon(
    learning_rate: optax.ScalarOrSchedule,
    weights: str | Iterable[str],
    *,
    layout: Layout,
    momentum: float | jax.Array = 0.9,
    nesterov: bool = False,
    ns_steps: int = 5,
    ns_coefficients: Sequence[float] = COEFFICIENTS,
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
      weights, layout, momentum, nesterov, ns_steps, ns_coefficients, add_log_det, gradients,
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
        ns_steps=ns_steps,
        ns_coefficients=ns_coefficients,
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
