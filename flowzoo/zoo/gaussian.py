"""The Gaussian with full covariance: the baseline that costs no training."""

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec, Labels
from flowzoo.flow import Flow
from flowzoo.transforms import Triangular
from flowzoo.zoo.options import vector_size


def gaussian(
    event_shape: tuple[int, ...],
    *,
    shrinkage: float = 1e-6,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`N(μ, Σ)`, which `Flow.initialize(x, context)` fits in closed form.

    Given labels, each class has its own μ and Σ, as in Papamakarios, Pavlakou, Murray, "Masked
    autoregressive flow for density estimation", arXiv 1705.07057; given features, the mean is
    linear in them.

    Args:
      event_shape: `(D,)`.
      shrinkage: λ in `Σ = (1 − λ) S + λ (tr S / D) I`, S the sample covariance.
      context: what to condition on, None for nothing.
      rngs: not used, nothing is random here.

    Raises:
      ValueError: if the event is not a vector, or the shrinkage not in [0, 1].
    """
    dim = vector_size("gaussian", event_shape)
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"gaussian got shrinkage {shrinkage}, expected a number in [0, 1].")
    triangular = Triangular(
        dim,
        context_size=context.size if context else 0,
        per_class=isinstance(context, Labels),
        shrinkage=shrinkage,
    )
    return Flow(StandardNormal(event_shape), triangular, context)
