"""The relative gradient as an optax transformation, for the square matrices of any pytree.

In column-vector notation a layer is `y = W x + b`. With `G = ∂loss/∂W` and `g = ∂loss/∂b` the
gradient is replaced by

    relative:    ΔW = (G Wᵀ + g bᵀ) W    Δb = (G Wᵀ + g bᵀ) b + g    (without a bias: ΔW = G Wᵀ W)
    transposed:  ΔW = W Wᵀ G             Δb = g

Both are descent directions that vanish only where (G, g) does:
`<(G, g), (ΔW, Δb)> = ||G Wᵀ + g bᵀ||² + ||g||²` and `||Wᵀ G||² + ||g||²`. The relative rule is the
top block of `Ĝ Ŵᵀ Ŵ` with the augmented matrices `Ŵ = [[W, b], [0, 1]]` and `Ĝ = [[G, g], [0, 0]]`.

A term `-log|det W|` of the loss contributes `(-W, -b)` to the relative `(ΔW, Δb)` and `(-W, 0)` to
the transposed one: a loss differentiated without that term needs no matrix inverse.

Source: Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient optimization of the
Jacobian term in unsupervised deep learning", arXiv 2006.15090, sections 3 and 4, appendix F. That
the log-determinant contributes `-b` to the bias follows from the projection; the authors' code
leaves it out, and its fixed points are not stationary points of the likelihood.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from flowzoo.relative.per_matrix import BIAS_NAMES, Layout, per_matrix


def scale_by_relative_gradient(
    weights: str | Iterable[str],
    *,
    layout: Layout,
    variant: Literal["relative", "transposed"] = "relative",
    add_log_det: float | jax.Array = 0.0,
    bias_names: Mapping[str, str] = BIAS_NAMES,
) -> optax.GradientTransformationExtraArgs:
    """Turns the gradients of the selected matrices and their biases into relative gradients.

    `(ΔW, Δb) = ((G Wᵀ + g bᵀ) W - c W, (G Wᵀ + g bᵀ) b + g - c b)` with `c = add_log_det`; the
    transposed variant and the source are in this module's docstring. All other leaves pass through.
    It belongs before an adaptive optimizer. Products are accumulated in float32 at least, and each
    update keeps its gradient's dtype.

    Leaves are selected by path: the keys, attribute names and indices that lead to a leaf, joined
    by "/"; the attribute `.value` at the end of the path of a Flax NNX variable is left off. Thus
    "params/Dense_0/kernel" (Linen), "flow/linear/w" (Haiku), "transforms/0/weight" (NNX).

    >>> import jax, jax.numpy as jnp, optax
    >>> x = 1 + 3 * jax.random.normal(jax.random.key(0), (500, 2))
    >>> def data_terms(params):
    ...     z = x @ params["kernel"] + params["bias"]
    ...     return 0.5 * jnp.mean(jnp.sum(z**2, -1))  # the loss is this - log|det kernel|
    >>> params = {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}
    >>> optimizer = optax.chain(
    ...     scale_by_relative_gradient("kernel", layout="in_out", add_log_det=1.0),
    ...     optax.scale(-0.1),
    ... )
    >>> state = optimizer.init(params)
    >>> for _ in range(100):
    ...     updates, state = optimizer.update(jax.grad(data_terms)(params), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> z = x @ params["kernel"] + params["bias"]  # the maximum of the likelihood whitens x
    >>> bool(jnp.allclose(jnp.cov(z.T, bias=True), jnp.eye(2), atol=1e-4))
    True

    Args:
      weights: path, or paths, of the matrices. `*` stands for anything within one name, `**` for
        any number of names: `params/Dense_*/kernel`, `**/weight`. Every one must match a leaf, and
        every matched leaf must be square, `[..., D, D]`, where leading axes are stacked layers.
        Select only layers `y = W x + b` whose `log|det W|` is in the likelihood: the weights of
        conditioner networks are not relative.
      layout: axes of the stored matrices: "in_out" (Flax, Haiku: `y = x @ w + b`, so `w` is Wᵀ) or
        "out_in" (flowzoo, PyTorch: `y = w @ x + b`). A wrong layout is a wrong gradient.
      variant: "relative" or "transposed".
      add_log_det: c, the coefficient of `-log|det W|` in the loss for the part of it that is *not*
        in the gradients; a number for all selected matrices. 0: the loss that was differentiated
        contains its log-determinants. 1: it is a mean negative log-likelihood in nats from which
        they were left out. A scaled loss scales c: 1/(D log 2) for bits per dimension, B for a
        sum over a batch of B, H · W for a 1×1 convolution over H × W positions.
      bias_names: name of a matrix -> name of the bias beside it, `[..., D]`. A matrix that has none
        (or whose bias has no gradient: None or masked) follows the rule without a bias. An empty
        mapping says that there are no biases.

    Raises:
      ValueError: unknown layout or variant, or no path given; in `init` and `update`: a path that
        matches nothing, a selected leaf that is not square, a bias of another size or shared by
        two matrices; in `update`: no `params`.

    Source: Gresele et al., "Relative gradient optimization of the Jacobian term in unsupervised
    deep learning", arXiv 2006.15090; in full at the top of this module.
    """
    if variant not in ("relative", "transposed"):
        raise ValueError(f"The variant is {variant!r}, expected 'relative' or 'transposed'.")

    def formula(w, b, grad, g):
        # The gradient is multiplied first: the condition number of Wᵀ W is the square of W's.
        if variant == "transposed":
            return w @ (w.mT @ grad) - add_log_det * w, g
        m = grad @ w.mT + g[..., :, None] * b[..., None, :]
        return m @ w - add_log_det * w, jnp.matvec(m, b) + g - add_log_det * b

    return per_matrix(formula, weights, layout=layout, bias_names=bias_names)


def relative_gradient(
    learning_rate: optax.ScalarOrSchedule,
    weights: str | Iterable[str],
    *,
    layout: Layout,
    variant: Literal["relative", "transposed"] = "relative",
    add_log_det: float | jax.Array = 0.0,
    bias_names: Mapping[str, str] = BIAS_NAMES,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """Adam on relative gradients: relative → Adam → -learning rate, as in arXiv 2006.15090.

    >>> import jax.numpy as jnp
    >>> params = {"linear": {"w": jnp.eye(2), "b": jnp.zeros(2)}}
    >>> optimizer = relative_gradient(1e-3, "linear/w", layout="in_out")
    >>> state = optimizer.init(params)

    Args:
      learning_rate: a number or a schedule.
      weights, layout, variant, add_log_det, bias_names: as in `scale_by_relative_gradient`.
      b1, b2, eps: as in `optax.scale_by_adam`.

    Raises:
      ValueError: as `scale_by_relative_gradient`.
    """
    return optax.chain(
        scale_by_relative_gradient(
            weights,
            layout=layout,
            variant=variant,
            add_log_det=add_log_det,
            bias_names=bias_names,
        ),
        optax.scale_by_adam(b1=b1, b2=b2, eps=eps),
        optax.scale_by_learning_rate(learning_rate),
    )
