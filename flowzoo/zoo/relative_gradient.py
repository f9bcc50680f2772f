"""The fully connected flow: `z = W_L σ(W_{L-1} … σ(W_1 x + b_1) …) + b_L`."""

from flax import nnx

from flowzoo.bases import FACTORIAL
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, Dense, SmoothLeakyReLU, TanhMix, Whiten

ACTIVATIONS = {"smooth_leaky_relu": SmoothLeakyReLU, "tanh_mix": TanhMix}


def relative_gradient(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 2,
    activation: str = "smooth_leaky_relu",
    alpha: float | None = None,
    center: float = 0.0,
    base: str = "standard_normal",
    use_bias: bool = True,
    whiten: bool = False,
    init: str = "orthogonal",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """The flow of Gresele et al., "Relative gradient optimization of the Jacobian term in
    unsupervised deep learning", NeurIPS 2020, arXiv 2006.15090.

    Args:
      event_shape: `(D,)`.
      num_layers: L dense layers, with an activation between each two.
      activation: `smooth_leaky_relu` or `tanh_mix`.
      alpha: the activation's α, None for its default.
      center: of the smooth leaky ReLU.
      base: a factorial base, one of `flowzoo.bases.FACTORIAL`.
      use_bias: whether the layers have biases.
      whiten: put a fixed whitening of the training data first, `transforms.Whiten`. With
        `init="identity"` training then starts near the likelihood of the fitted Gaussian, the nearer
        the larger the center.
      init: of the dense layers, `orthogonal` (the paper's) or `identity`.
      context: must be None, this flow is unconditional.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.
    """
    _check_option("activation", activation, ACTIVATIONS)
    _check_option("base", base, FACTORIAL)
    if len(event_shape) != 1:
        raise ValueError(f"relative_gradient got event_shape {event_shape}, expected (D,).")
    if num_layers < 1:
        raise ValueError(f"relative_gradient got num_layers {num_layers}, expected at least 1.")
    if context is not None:
        raise ValueError("relative_gradient is unconditional; leave the context out.")

    (dim,) = event_shape
    dense = [Dense(dim, use_bias=use_bias, init=init, rngs=rngs) for _ in range(num_layers)]
    options = {} if alpha is None else {"alpha": alpha}
    if center:
        options["center"] = center
    transforms = [Whiten(dim, center=use_bias)] if whiten else []
    transforms.append(dense[0])
    for layer in dense[1:]:
        transforms += [ACTIVATIONS[activation](event_shape, **options), layer]
    return Flow(FACTORIAL[base](event_shape), Chain(transforms))


def _check_option(name: str, value: str, options: dict) -> None:
    if value not in options:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(options)}.")
