"""Residual flows: the identity plus a contraction, many times."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, ResidualBlock, Transform, TriangularLinear
from flowzoo.transforms.stack import repeated
from flowzoo.zoo.options import check_layers, vector_size


def residual_flow(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 8,
    hidden_sizes: Sequence[int] = (64, 64),
    lipschitz: float = 0.97,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """i-ResNet of Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, "Invertible residual networks",
    ICML 2019, arXiv 1811.00995, with exact log-determinants, for data of up to about 64 numbers.

    A block changes no length by more than a factor 1 ± κ; a triangular layer behind each, in the
    place of the source's trained scales, makes up for it.

    Args:
      event_shape: `(D,)`.
      num_layers: residual blocks.
      hidden_sizes: units of each hidden layer of a block.
      lipschitz: κ, a bound on the Lipschitz constant of what a block adds.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    dim = vector_size("residual_flow", event_shape)
    check_layers("residual_flow", num_layers)

    def block() -> list[Transform]:
        residual = ResidualBlock(
            dim,
            hidden_sizes=hidden_sizes,
            lipschitz=lipschitz,
            context_size=context.size if context else 0,
            rngs=rngs,
        )
        return [residual, TriangularLinear(dim)]

    blocks = [block() for _ in range(num_layers)]
    return Flow(StandardNormal(event_shape), Chain(repeated(blocks, 3)), context)
