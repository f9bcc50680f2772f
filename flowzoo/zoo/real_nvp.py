"""Real NVP on vectors: affine couplings whose halves alternate."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import AffineCoupling, BatchNorm, Chain, alternating_mask
from flowzoo.zoo.options import check_layers, vector_size


def real_nvp(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 10,
    hidden_sizes: Sequence[int] = (100,),
    scale_activation: str = "tanh",
    shift_activation: str = "relu",
    batch_norm: bool = True,
    input_bound: float | None = None,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Real NVP as run by Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density
    estimation", NeurIPS 2017, arXiv 1705.07057; the model is that of Dinh, Sohl-Dickstein, Bengio,
    "Density estimation using Real NVP", arXiv 1605.08803.

    Args:
      event_shape: `(D,)`, D at least 2.
      num_layers: couplings; they keep the even and the odd coordinates in turn.
      hidden_sizes: units of each hidden layer of the scale and of the shift networks.
      scale_activation, shift_activation: as for `AffineCoupling`; with the scale's `shared`, each
        coupling has one network, as most libraries have.
      batch_norm: whether a `BatchNorm` follows each coupling.
      input_bound: as for `maf`.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option or an event that is not a vector of two or more.
    """
    dim = vector_size("real_nvp", event_shape, at_least=2)
    check_layers("real_nvp", num_layers)
    transforms = []
    for i in range(num_layers):
        transforms.append(
            AffineCoupling(
                alternating_mask(dim, i),
                hidden_sizes=hidden_sizes,
                scale_activation=scale_activation,
                shift_activation=shift_activation,
                input_bound=input_bound,
                context_size=context.size if context else 0,
                rngs=rngs,
            )
        )
        if batch_norm:
            transforms.append(BatchNorm(event_shape))
    return Flow(StandardNormal(event_shape), Chain(transforms), context)
