"""A trust region in which no step can make a matrix singular."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import optax

from flowzoo.relative.selection import as_patterns, on_selected, select


def limit_relative_change(
    weights: str | Iterable[str], max_change: float
) -> optax.GradientTransformationExtraArgs:
    """Shortens each step of the selected matrices to a relative length of at most τ.

    A step U is the multiplication `W + U = (I + U W⁻¹) W`. With `‖U W⁻¹‖_F <= τ < 1` the factor
    is invertible, so that W stays invertible whatever the gradient and the learning rate are, and
    `log|det W|` changes by at most `−D log(1 − τ)`. Each matrix (each layer of a stack `[L, D, D]`)
    has its own limit. It is the last of a chain, where the updates are the steps themselves:

    >>> import jax.numpy as jnp, optax
    >>> optimizer = optax.chain(optax.adam(100.0), limit_relative_change("w", 0.5))
    >>> params = {"w": jnp.eye(2)}
    >>> steps, _ = optimizer.update({"w": jnp.ones((2, 2))}, optimizer.init(params), params)
    >>> bool(jnp.linalg.norm(steps["w"]) <= 0.5)
    True

    It takes a factorisation of W in each step, O(D³): as much as the ordinary gradient does. For a
    run that diverges without it, not for every run.

    Args:
      weights: paths of the matrices, as in `scale_by_relative_gradient`, stored in either layout.
      max_change: τ, in (0, 1).

    Raises:
      ValueError: if τ is not in (0, 1); in `init` and `update` as `scale_by_relative_gradient`.

    Source: for the multiplicative form of the step, Gresele et al., arXiv 2006.15090, section 3;
    Cardoso, Laheld, "Equivariant adaptive source separation", IEEE Transactions on Signal
    Processing 1996.
    """
    patterns = as_patterns(weights)
    if not 0 < max_change < 1:
        raise ValueError(f"max_change is {max_change}, expected a number between 0 and 1.")

    def change(chosen, values, new):
        for path in chosen:
            if path in new:
                new[path] = _shorten(new[path], values[path], max_change)

    return on_selected(lambda leaves: select(leaves, patterns, {}), change)


def _shorten(step: jax.Array, weight: jax.Array, max_change: float) -> jax.Array:
    # U W⁻¹ = (W⁻ᵀ Uᵀ)ᵀ, and a norm does not see the transposition.
    relative = jnp.linalg.solve(weight.mT, step.mT)
    change = jnp.sqrt((relative**2).sum((-2, -1), keepdims=True))
    # A little less than τ, which rounding would otherwise exceed.
    factor = jnp.minimum(1, 0.999 * max_change / jnp.maximum(change, jnp.finfo(step.dtype).tiny))
    return (step * factor).astype(step.dtype)
