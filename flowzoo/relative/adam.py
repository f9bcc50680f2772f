"""Relative Adam: Adam's moments of the factor by which W changes."""

from collections.abc import Iterable, Mapping

import jax
import optax

from flowzoo.relative.per_matrix import BIAS_NAMES, Layout, selected
from flowzoo.relative.perturbations import from_perturbations, to_perturbations


def scale_by_relative_adam(
    weights: str | Iterable[str],
    *,
    layout: Layout,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    add_log_det: float | jax.Array = 0.0,
    gradients: str = "ordinary",
    bias_names: Mapping[str, str] = BIAS_NAMES,
) -> optax.GradientTransformationExtraArgs:
    """Adam in multiplicative coordinates, for the selected matrices and their biases.

    With `E = G Wᵀ + g bᵀ − c I`, `c = add_log_det`, and Adam's normalised moments of (E, g),

        Ê = m(E) / (√v(E) + ε)        ΔW = Ê W
        ĝ = m(g) / (√v(g) + ε)        Δb = Ê b + ĝ

    Equivariant: data `A x + a` in place of x give the same curve, from layers that start at the
    same outputs. Adam on relative gradients, `flowzoo.relative_gradient`, is not. All other leaves
    pass through; each update keeps its gradient's dtype.

    >>> import jax.numpy as jnp
    >>> params = {"w": 10 * jnp.eye(2), "b": jnp.zeros(2)}
    >>> optimizer = scale_by_relative_adam("w", layout="in_out")
    >>> gradients = {"w": jnp.eye(2), "b": jnp.zeros(2)}
    >>> updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    >>> updates["w"].round(3).tolist()  # a step of the relative length 1
    [[10.0, 0.0], [0.0, 10.0]]

    Args:
      weights, layout, bias_names: as in `flowzoo.scale_by_relative_gradient`.
      b1, b2, eps: as in `optax.scale_by_adam`.
      add_log_det: c, as in `flowzoo.scale_by_relative_gradient`.
      gradients: "ordinary", or "multiplicative" if (E, g) come in the gradients' place; see
        `flowzoo.relative.to_perturbations`.

    Raises:
      ValueError: as `to_perturbations`.

    Source: Kingma, Ba, "Adam", arXiv 1412.6980, in the coordinates of Gresele et al., arXiv
    2006.15090; docs/method_multiplicative.md.
    """
    place = dict(layout=layout, bias_names=bias_names)
    return optax.chain(
        to_perturbations(weights, add_log_det=add_log_det, gradients=gradients, **place),
        optax.masked(optax.scale_by_adam(b1, b2, eps), selected(weights, bias_names)),
        from_perturbations(weights, **place),
    )


def relative_adam(
    learning_rate: optax.ScalarOrSchedule,
    weights: str | Iterable[str],
    *,
    layout: Layout,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    add_log_det: float | jax.Array = 0.0,
    gradients: str = "ordinary",
    bias_names: Mapping[str, str] = BIAS_NAMES,
) -> optax.GradientTransformationExtraArgs:
    """Relative Adam for the selected matrices and their biases, Adam for everything else.

    >>> import jax.numpy as jnp
    >>> params = {"linear": {"w": jnp.eye(2), "b": jnp.zeros(2)}, "log_scale": jnp.zeros(2)}
    >>> optimizer = relative_adam(1e-3, "linear/w", layout="in_out")
    >>> state = optimizer.init(params)

    Args:
      learning_rate: a number or a schedule.
      weights, layout, add_log_det, gradients, bias_names: as in `scale_by_relative_adam`.
      b1, b2, eps: as in `optax.scale_by_adam`.

    Raises:
      ValueError: as `scale_by_relative_adam`.
    """
    place = dict(layout=layout, bias_names=bias_names)
    return optax.chain(
        to_perturbations(weights, add_log_det=add_log_det, gradients=gradients, **place),
        optax.scale_by_adam(b1, b2, eps),
        from_perturbations(weights, **place),
        optax.scale_by_learning_rate(learning_rate),
    )
