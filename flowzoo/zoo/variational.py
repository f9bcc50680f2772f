"""Planar, radial and Sylvester flows: chains of small bends, for variational inference."""

from collections.abc import Callable

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, Inverse, Planar, RadialFlow, Sylvester, Transform
from flowzoo.transforms.stack import repeated
from flowzoo.zoo.options import check_choice, check_layers, vector_size

CLOSED_FORMS = ("density", "samples")


def planar(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 16,
    closed_form: str = "density",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Planar flow of Rezende, Mohamed, "Variational inference with normalizing flows", ICML 2015,
    arXiv 1505.05770.

    Args:
      event_shape: `(D,)`.
      num_layers: maps in a row, each of which bends space along one direction.
      closed_form: which way has a closed form, the other being solved for numerically: from data to
        latents (`density`, for maximum likelihood) or back (`samples`, as published, for reverse
        KL, see `flowzoo.fit_to_density`).
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    return _stack("planar", Planar, event_shape, num_layers, closed_form, context, rngs)


def radial_flow(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 16,
    closed_form: str = "density",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Radial flow of Rezende, Mohamed, "Variational inference with normalizing flows", ICML 2015,
    arXiv 1505.05770.

    Args:
      event_shape: `(D,)`.
      num_layers: maps in a row, each of which draws space to a point or pushes it away.
      closed_form, context, rngs: as for `planar`; both ways have a closed form here, and
        `closed_form` says which of them the published one is.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    return _stack("radial_flow", RadialFlow, event_shape, num_layers, closed_form, context, rngs)


def sylvester(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 8,
    rank: int | None = None,
    num_reflections: int = 8,
    closed_form: str = "density",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Sylvester flow of van den Berg, Hasenclever, Tomczak, Welling, "Sylvester normalizing flows
    for variational inference", UAI 2018, arXiv 1803.05649, the variant with Householder
    reflections.

    Args:
      event_shape: `(D,)`.
      num_layers: maps in a row.
      rank: directions that each of them bends, D if None.
      num_reflections: whose product holds these directions.
      closed_form, context, rngs: as for `planar`.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """

    def make(dim: int, **options) -> Transform:
        return Sylvester(dim, rank=rank, num_reflections=num_reflections, **options)

    return _stack("sylvester", make, event_shape, num_layers, closed_form, context, rngs)


def _stack(
    recipe: str,
    make: Callable[..., Transform],
    event_shape: tuple[int, ...],
    num_layers: int,
    closed_form: str,
    context: ContextSpec | None,
    rngs: nnx.Rngs,
) -> Flow:
    dim = vector_size(recipe, event_shape)
    check_layers(recipe, num_layers)
    check_choice(recipe, "closed_form", closed_form, CLOSED_FORMS)
    context_size = context.size if context else 0
    layers = [make(dim, context_size=context_size, rngs=rngs) for _ in range(num_layers)]
    if closed_form == "samples":
        layers = [Inverse(layer) for layer in layers]
    transform = Chain(repeated([[layer] for layer in layers], 4))
    return Flow(StandardNormal(event_shape), transform, context)
