"""Masked autoregressive flows: a stack of MADEs, each reading the one before in reverse order."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.autoregressive import MixtureMADE
from flowzoo.bases.base import Base
from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import BatchNorm, Chain, MaskedAutoregressive, Reverse
from flowzoo.zoo.options import check_layers, vector_size


def maf(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 5,
    hidden_sizes: Sequence[int] = (512,),
    activation: str = "relu",
    degrees: str = "sequential",
    residual: bool = False,
    batch_norm: bool = True,
    input_bound: float | None = None,
    inverse_method: str = "sequential",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """MAF of Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation",
    NeurIPS 2017, arXiv 1705.07057.

    Args:
      event_shape: `(D,)`.
      num_layers: masked autoregressive layers; the order is reversed between each two.
      hidden_sizes: units of each hidden layer.
      activation: `relu` or `tanh`.
      degrees: `sequential` or `random`.
      residual: whether hidden layers after the first are added to the one before.
      batch_norm: whether a `BatchNorm` follows each layer.
      input_bound: what networks see of larger numbers is their logarithm, so that far out ten
        layers do not amplify each other; None for no bound. Data within it score the same.
      inverse_method: how samples are made, `sequential` or `fixed_point`.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights and random degrees.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    vector_size("maf", event_shape)
    check_layers("maf", num_layers)
    return _stack(
        StandardNormal(event_shape),
        num_layers,
        batch_norm,
        context,
        hidden_sizes=hidden_sizes,
        activation=activation,
        degrees=degrees,
        residual=residual,
        input_bound=input_bound,
        inverse_method=inverse_method,
        rngs=rngs,
    )


def maf_mog(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 5,
    num_components: int = 10,
    hidden_sizes: Sequence[int] = (512,),
    activation: str = "relu",
    degrees: str = "sequential",
    residual: bool = False,
    batch_norm: bool = True,
    input_bound: float | None = None,
    inverse_method: str = "sequential",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`maf` with `MixtureMADE` as its base, in the reverse of the last layer's order.

    Args:
      event_shape: `(D,)`.
      num_layers: masked autoregressive layers, without the base.
      num_components: components of each of the base's conditionals.
      hidden_sizes, activation, degrees, residual, batch_norm, input_bound, inverse_method, context,
        rngs: as for `maf`; the base's network has the first four, and the bound, too.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    check_layers("maf_mog", num_layers)
    network = dict(
        hidden_sizes=hidden_sizes,
        activation=activation,
        degrees=degrees,
        residual=residual,
        input_bound=input_bound,
        rngs=rngs,
    )
    base = MixtureMADE(
        vector_size("maf_mog", event_shape),
        num_components=num_components,
        context_size=context.size if context else 0,
        **network,
    )
    return _stack(base, num_layers, batch_norm, context, inverse_method=inverse_method, **network)


def _stack(
    base: Base, num_layers: int, batch_norm: bool, context: ContextSpec | None, **options
) -> Flow:
    (dim,) = base.event_shape
    context_size = context.size if context else 0
    transforms = []
    for _ in range(num_layers):
        transforms.append(MaskedAutoregressive(dim, context_size=context_size, **options))
        if batch_norm:
            transforms.append(BatchNorm(base.event_shape))
        transforms.append(Reverse(dim))
    return Flow(base, Chain(transforms), context)
