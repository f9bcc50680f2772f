"""Neural spline flows: rational-quadratic splines and linear layers in turn."""

from collections.abc import Callable, Sequence
import functools

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import (
    PLU,
    QR,
    SVD,
    Chain,
    Dense,
    Householder,
    Orthogonal,
    Reverse,
    SplineAutoregressive,
    SplineCoupling,
    Transform,
    alternating_mask,
)
from flowzoo.transforms.stack import repeated
from flowzoo.zoo.options import check_choice, check_layers, vector_size

# What stands between two nonlinear layers: called with D, `rngs` and perhaps `init`. All but the
# first start at a random rotation, unless told otherwise.
LINEAR: dict[str, Callable[..., Transform]] = {
    "reverse": lambda dim, **_: Reverse(dim),
    "plu": PLU,
    "dense": Dense,
    "qr": QR,
    "svd": SVD,
    "householder": Householder,
    "cayley": functools.partial(Orthogonal, method="cayley"),
    "exponential": functools.partial(Orthogonal, method="exponential"),
    "newton_schulz": functools.partial(Orthogonal, method="newton_schulz"),
}
# Splines take long to compile, so that few layers make a loop over them worth it.
STACK_FROM = 3


def nsf_coupling(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 10,
    num_bins: int = 8,
    bound: float = 3.0,
    hidden_sizes: Sequence[int] = (128, 128, 128),
    activation: str = "relu",
    residual: bool = True,
    map_kept: bool = True,
    linear: str = "plu",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """RQ-NSF (C) of Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", NeurIPS 2019,
    arXiv 1906.04032.

    The splines act within [−bound, bound]: the data should be standardised. Other than in the
    paper, a linear layer starts at a random rotation, not at a permutation, a block of the residual
    networks is one layer, not two, and there is no dropout.

    Args:
      event_shape: `(D,)`, D at least 2.
      num_layers: couplings; they keep the even and the odd coordinates in turn, and a linear layer
        stands before each and after the last.
      num_bins: of each spline.
      bound: of the splines.
      hidden_sizes: units of each hidden layer of the networks.
      activation: `relu` or `tanh`.
      residual: whether hidden layers after the first are added to the one before.
      map_kept: whether a coupling maps the coordinates that it keeps, each by a spline of its own.
      linear: `plu`, `dense` (trained by the relative gradient), `qr`, `svd`, `householder`,
        `cayley`, `exponential`, `newton_schulz`, or `reverse`.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option or an event that is not a vector of two or more.
    """
    dim = vector_size("nsf_coupling", event_shape, at_least=2)
    check_layers("nsf_coupling", num_layers)
    check_choice("nsf_coupling", "linear", linear, LINEAR)

    def layer(i: int) -> Transform:
        return SplineCoupling(
            alternating_mask(dim, i),
            num_bins=num_bins,
            bound=bound,
            hidden_sizes=hidden_sizes,
            activation=activation,
            residual=residual,
            map_kept=map_kept,
            context_size=context.size if context else 0,
            rngs=rngs,
        )

    return _stack(event_shape, layer, num_layers, 2, linear, context, rngs)


def nsf_autoregressive(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 5,
    num_bins: int = 8,
    bound: float = 3.0,
    hidden_sizes: Sequence[int] = (512, 512),
    activation: str = "relu",
    degrees: str = "sequential",
    residual: bool = True,
    linear: str = "plu",
    inverse_method: str = "sequential",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """RQ-NSF (AR) of Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", NeurIPS 2019,
    arXiv 1906.04032; what differs is what differs in `nsf_coupling`.

    Args:
      event_shape: `(D,)`.
      num_layers: autoregressive layers, with a linear layer before each and after the last.
      degrees: `sequential` or `random`.
      inverse_method: how samples are made, `sequential` or `fixed_point`.
      num_bins, bound, hidden_sizes, activation, residual, linear, context, rngs: as for
        `nsf_coupling`.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    dim = vector_size("nsf_autoregressive", event_shape)
    check_layers("nsf_autoregressive", num_layers)
    check_choice("nsf_autoregressive", "linear", linear, LINEAR)

    def layer(_: int) -> Transform:
        return SplineAutoregressive(
            dim,
            num_bins=num_bins,
            bound=bound,
            hidden_sizes=hidden_sizes,
            activation=activation,
            degrees=degrees,
            residual=residual,
            inverse_method=inverse_method,
            context_size=context.size if context else 0,
            rngs=rngs,
        )

    return _stack(event_shape, layer, num_layers, 1, linear, context, rngs)


def _stack(
    event_shape: tuple[int, ...],
    layer: Callable[[int], Transform],
    num_layers: int,
    period: int,
    linear: str,
    context: ContextSpec | None,
    rngs: nnx.Rngs,
) -> Flow:
    def between() -> Transform:
        return LINEAR[linear](event_shape[0], rngs=rngs)

    layers = [(between(), layer(i)) for i in range(num_layers)]
    whole = num_layers - num_layers % period
    blocks = [
        [transform for pair in layers[i : i + period] for transform in pair]
        for i in range(0, whole, period)
    ]
    rest = [transform for pair in layers[whole:] for transform in pair]
    transforms = [*(repeated(blocks, STACK_FROM) if blocks else []), *rest, between()]
    return Flow(StandardNormal(event_shape), Chain(transforms), context)
