"""Continuous flows: one vector field from data to latents."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import ContinuousFlow
from flowzoo.zoo.options import vector_size


def continuous_flow(
    event_shape: tuple[int, ...],
    *,
    hidden_sizes: Sequence[int] = (64, 64),
    tolerance: float = 1e-5,
    gradient: str = "discretised",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Continuous flow. Trained by maximum likelihood it is FFJORD of Grathwohl, Chen, Bettencourt,
    Sutskever, Duvenaud, ICLR 2019, arXiv 1810.01367, with exact traces, or estimated ones with
    `config.objective = "estimate"`; with `config.objective = "flow_matching"` it is that of Lipman,
    Chen, Ben-Hamu, Nickel, Le, ICLR 2023, arXiv 2210.02747, which needs no solver to train.

    Needs the extra `continuous`, diffrax.

    Args:
      event_shape: `(D,)`.
      hidden_sizes: units of each hidden layer of the vector field.
      tolerance: of the solver; see `flowzoo.transforms.ContinuousFlow`.
      gradient: `discretised` or `adjoint`.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ImportError: if diffrax is not installed.
      ValueError: on an unknown option or an event that is not a vector.
    """
    transform = ContinuousFlow(
        vector_size("continuous_flow", event_shape),
        hidden_sizes=hidden_sizes,
        tolerance=tolerance,
        gradient=gradient,
        context_size=context.size if context else 0,
        rngs=rngs,
    )
    return Flow(StandardNormal(event_shape), transform, context)
