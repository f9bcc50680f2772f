"""The modes that layers have: what changes how they compute, and not what."""

from typing import TypeVar

from flax import nnx

from flowzoo.relative.fused import RULES
from flowzoo.transforms.activations import ACTIVATIONS

# Each mode is an attribute of the layers that have it, with these values, of which the first is the
# one that layers are made with; None stands for any value.
MODES: dict[str, tuple | None] = {
    # `Dense`, `PeriodicConv`: how weight and bias are differentiated.
    "gradient_rule": RULES,
    # `Dense`: whether its LU factors are kept, for likelihoods and samples in many calls with the
    # same weights. Such a copy is neither to be trained nor saved.
    "factored": (False, True),
    # `Chain`, `Stack`: what a backward pass finds of the activations in their transforms.
    "activations": ACTIVATIONS,
    # `BatchNorm`: whether it normalises by the batch that it is given, for training.
    "batch_statistics": (False, True),
    # `BatchNorm`: the mapped axis that a batch is spread over, None if it lies on one device.
    "axis_name": None,
    # Affine couplings and autoregressive layers: ±what the numbers that their inverse computes are
    # clipped to, None for no bound. For samples of data of a known range; see `RawFlow.sample`.
    "inverse_bound": None,
    # Autoregressive layers: how far beyond what their networks say with the context, from what they
    # say without. For flows that were trained with some labels left out, `config.label_dropout`.
    "guidance": None,
    # `ResidualConvNet`: whether convolutions are differentiated by ones of their own layout.
    "canonical_gradients": (False, True),
}

Module = TypeVar("Module", bound=nnx.Module)


def with_modes(module: Module, **modes) -> Module:
    """A copy of a flow or a transform, with some modes of the layers inside it set.

    The copy has arrays of its own, the module stays as it is. What `nnx.Module.train` and `eval` do
    for flax's own layers, this does for those of a flow, through `set_attributes`.

    >>> from flax import nnx
    >>> from flowzoo.transforms import Dense, with_modes
    >>> with_modes(Dense(2, rngs=nnx.Rngs(0)), gradient_rule="relative").gradient_rule
    'relative'

    Args:
      module: what to copy.
      **modes: values of `MODES` by name; layers that have no such mode are left as they are.

    Raises:
      ValueError: if a mode or its value is unknown.
    """
    for name, value in modes.items():
        if name not in MODES:
            raise ValueError(f"The mode is {name!r}, expected one of {', '.join(MODES)}.")
        if (values := MODES[name]) is not None and value not in values:
            raise ValueError(
                f"The mode {name} is {value!r}, expected one of {', '.join(map(str, values))}."
            )
    module = nnx.clone(module)
    module.set_attributes(**modes, raise_if_not_found=False)
    return module


def guided(flow: Module, weight: float) -> Module:
    """A copy of a conditional flow whose samples are more typical of their label.

    Its autoregressive layers take `y(∅) + (1 + weight) (y(c) − y(∅))` for what their networks say,
    y(c) with the label and y(∅) without. The copy is a flow too: its density is that of its own
    samples, and not of the data. For flows that were trained with some labels left out,
    `config.label_dropout`; others have not learned y(∅).

    Args:
      flow: a `Flow` or `RawFlow`, conditioned on labels.
      weight: 0 changes nothing, −1 is the flow without a label.

    Raises:
      ValueError: if the flow has no context or no autoregressive layer.

    Source: Ho, Salimans, "Classifier-free diffusion guidance", arXiv 2207.12598; for flows, Zhai et
    al., "Normalizing flows are capable generative models", arXiv 2412.06329.
    """
    if not any(
        hasattr(layer, "guidance") and layer.context_size for _, layer in nnx.iter_modules(flow)
    ):
        raise ValueError(
            "guided got a flow without an autoregressive layer that sees labels, expected a "
            "conditional one, such as the recipe tarflow built with a context."
        )
    return with_modes(flow, guidance=float(weight))
