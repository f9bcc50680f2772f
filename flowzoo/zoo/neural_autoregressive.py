"""Neural autoregressive, block neural autoregressive and Gaussianization flows."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import (
    BlockAutoregressive,
    Chain,
    ConditionalAffine,
    Householder,
    MixtureCDF,
    NeuralAutoregressive,
    Reverse,
    Transform,
)
from flowzoo.transforms.stack import repeated
from flowzoo.zoo.options import check_layers, vector_size


def naf(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 5,
    num_units: int = 16,
    hidden_sizes: Sequence[int] = (512, 512),
    activation: str = "relu",
    degrees: str = "sequential",
    residual: bool = False,
    inverse_method: str = "sequential",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """NAF-DSF of Huang, Krueger, Lacoste, Courville, "Neural autoregressive flows", ICML 2018,
    arXiv 1804.00779.

    Args:
      event_shape: `(D,)`.
      num_layers: deep sigmoidal layers; the order is reversed between each two.
      num_units: sigmoids of each map.
      hidden_sizes: units of each hidden layer of the masked networks.
      activation: `relu` or `tanh`.
      degrees: `sequential` or `random`.
      residual: whether hidden layers after the first are added to the one before.
      inverse_method: how samples are made, `sequential` or `fixed_point`.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights and random degrees.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    dim = vector_size("naf", event_shape)
    check_layers("naf", num_layers)
    blocks = [
        [
            NeuralAutoregressive(
                dim,
                num_units=num_units,
                hidden_sizes=hidden_sizes,
                activation=activation,
                degrees=degrees,
                residual=residual,
                inverse_method=inverse_method,
                context_size=context.size if context else 0,
                rngs=rngs,
            ),
            Reverse(dim),
        ]
        for _ in range(num_layers)
    ]
    return Flow(StandardNormal(event_shape), Chain(repeated(blocks, 4)), context)


def bnaf(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 3,
    hidden_units: Sequence[int] = (8, 8),
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """BNAF of De Cao, Titov, Aziz, "Block neural autoregressive flow", UAI 2019, arXiv 1904.04676.

    Args:
      event_shape: `(D,)`.
      num_layers: networks; the order is reversed between each two.
      hidden_units: units for each coordinate, of each hidden layer of a network.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    dim = vector_size("bnaf", event_shape)
    check_layers("bnaf", num_layers)
    size = context.size if context else 0
    blocks = [
        [
            BlockAutoregressive(dim, hidden_units=hidden_units, context_size=size, rngs=rngs),
            Reverse(dim),
        ]
        for _ in range(num_layers)
    ]
    return Flow(StandardNormal(event_shape), Chain(repeated(blocks, 4)), context)


def gaussianization(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 5,
    num_components: int = 16,
    num_reflections: int | None = None,
    init: str = "quantiles",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Gaussianization flow of Meng, Song, Song, Ermon, "Gaussianization flows", AISTATS 2020, arXiv
    2003.01941: maps of each coordinate to the normal and rotations in turn.

    Each map is the distribution function of a mixture of logistics, all of whose centres, widths
    and weights are trained, and the normal's quantile function.

    Args:
      event_shape: `(D,)`.
      num_layers: of maps; a rotation stands between each two.
      num_components: of each mixture.
      num_reflections: whose product a rotation is, D if None.
      init: of the maps, `quantiles` (of the training data, as they arrive there) or `identity`.
      context: labels or features; before each map an affine map depends on them.
      rngs: draws the reflections.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    dim = vector_size("gaussianization", event_shape)
    check_layers("gaussianization", num_layers)

    def marginal() -> list[Transform]:
        layer = MixtureCDF(event_shape, num_components=num_components, init=init)
        if context is None:
            return [layer]
        return [ConditionalAffine(event_shape, context_size=context.size), layer]

    def rotation() -> Transform:
        return Householder(dim, num_reflections=num_reflections, use_bias=False, rngs=rngs)

    blocks = [[*marginal(), rotation()] for _ in range(num_layers - 1)]
    transform = Chain([*(repeated(blocks, 4) if blocks else []), *marginal()])
    return Flow(StandardNormal(event_shape), transform, context)
