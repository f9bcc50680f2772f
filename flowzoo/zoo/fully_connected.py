"""The fully connected flow of the relative-gradient paper."""

from flax import nnx

from flowzoo.bases.factorial import FACTORIAL
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, ConditionalAffine, Dense, TanhMix, Transform, Whiten
from flowzoo.transforms.stack import repeated
from flowzoo.zoo.maps import FIXED, Record, complete, make
from flowzoo.zoo.options import check_choice, check_layers, vector_size


def fully_connected(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 2,
    nonlinearity: Record = "smooth_leaky_relu",
    gain: float = 1.0,
    base: str = "standard_normal",
    use_bias: bool = True,
    whiten: bool = False,
    init: str = "orthogonal",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`z = W_L σ(W_{L-1} … σ(W_1 x + b_1) …) + b_L`: dense layers and one fixed nonlinearity.

    Args:
      event_shape: `(D,)`.
      num_layers: L dense layers.
      nonlinearity: σ, `{"name": "smooth_leaky_relu", "alpha": 0.01, "center": 0.0}` or
        `{"name": "tanh_mix", "alpha": 1.0, "beta": 0.1}`, or a callable, see `flowzoo.zoo.maps`.
      gain: the first dense layer starts times this and the last divided by it. A small gain starts
        the tanh mix where it is about linear, and all layers behind a tanh mix start divided by its
        slope there.
      base: a factorial base, one of `flowzoo.bases.FACTORIAL`.
      use_bias: whether the layers have biases.
      whiten: put a fixed whitening of the training data before the first dense layer. With
        `init="identity"` training then starts near the likelihood of the fitted Gaussian, the
        nearer the larger the smooth leaky ReLU's center.
      init: of the dense layers, `orthogonal` (the paper's) or `identity`.
      context: labels or features; after each dense layer an affine map depends on them.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option, one without an effect, or an event that is not a vector.

    Source: Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient optimization of the
    Jacobian term in unsupervised deep learning", NeurIPS 2020, arXiv 2006.15090.
    """
    dim = vector_size("fully_connected", event_shape)
    check_layers("fully_connected", num_layers)
    check_choice("fully_connected", "base", base, FACTORIAL)
    if not gain > 0:
        raise ValueError(f"fully_connected got gain {gain}, expected a positive number.")
    if num_layers == 1 and gain != 1:
        raise ValueError(
            f"fully_connected got gain {gain} with one layer, where it has no effect: leave it "
            "out, or take more layers."
        )
    record = complete("nonlinearity", nonlinearity, FIXED)

    def linear(scale: float) -> list[Transform]:
        dense = Dense(dim, use_bias=use_bias, init=init, rngs=rngs)
        dense.weight[...] *= scale
        if context is None:
            return [dense]
        return [dense, ConditionalAffine(event_shape, context_size=context.size)]

    mix = make(record, event_shape)
    unit = 1 / (mix.alpha + mix.beta) if isinstance(mix, TanhMix) else 1.0
    scales = [gain, *[unit] * (num_layers - 2), unit / gain] if num_layers > 1 else [1.0]
    first = linear(scales[0])
    blocks = [[make(record, event_shape), *linear(scale)] for scale in scales[1:]]
    whitening = [Whiten(dim, center=use_bias)] if whiten else []
    return Flow(
        FACTORIAL[base](event_shape), Chain([*whitening, *first, *repeated(blocks)]), context
    )
