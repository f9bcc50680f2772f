"""MADE: one masked autoregressive network, with Gaussian or with mixture conditionals."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.autoregressive import MixtureMADE
from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import MaskedAutoregressive, Reshape
from flowzoo.zoo.options import vector_size


def made(
    event_shape: tuple[int, ...],
    *,
    hidden_sizes: Sequence[int] = (512,),
    activation: str = "relu",
    degrees: str = "sequential",
    residual: bool = False,
    inverse_method: str = "sequential",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`p(x) = Π_i N(x_i; μ_i, e^{2 α_i})`, μ and α functions of `x_0 … x_{i−1}` and the context.

    Sources: Germain, Gregor, Murray, Larochelle, "MADE: masked autoencoder for distribution
    estimation", arXiv 1502.03509; with Gaussian conditionals as run by Papamakarios, Pavlakou,
    Murray, "Masked autoregressive flow for density estimation", arXiv 1705.07057.

    Args:
      event_shape: `(D,)`.
      hidden_sizes: units of each hidden layer.
      activation: `relu` or `tanh`.
      degrees: `sequential` or `random`.
      residual: whether hidden layers after the first are added to the one before.
      inverse_method: how samples are made, `sequential` or `fixed_point`.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights and random degrees.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    layer = MaskedAutoregressive(
        vector_size("made", event_shape),
        hidden_sizes=hidden_sizes,
        activation=activation,
        degrees=degrees,
        residual=residual,
        context_size=context.size if context else 0,
        inverse_method=inverse_method,
        rngs=rngs,
    )
    return Flow(StandardNormal(event_shape), layer, context)


def made_mog(
    event_shape: tuple[int, ...],
    *,
    num_components: int = 10,
    hidden_sizes: Sequence[int] = (512,),
    activation: str = "relu",
    degrees: str = "sequential",
    residual: bool = False,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """MADE whose conditionals are mixtures of C = `num_components` Gaussians.

    The whole model is the base distribution `MixtureMADE`; its latents are the data. For standard
    normal latents use the transform `MixtureAutoregressive`, the same density at greater cost.

    Args:
      event_shape: `(D,)`.
      num_components: C.
      hidden_sizes, activation, degrees, residual, context, rngs: as for `made`.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    base = MixtureMADE(
        vector_size("made_mog", event_shape),
        num_components=num_components,
        hidden_sizes=hidden_sizes,
        activation=activation,
        degrees=degrees,
        residual=residual,
        context_size=context.size if context else 0,
        rngs=rngs,
    )
    return Flow(base, Reshape(event_shape, event_shape), context)
