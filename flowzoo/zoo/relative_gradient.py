"""The fully connected flow: dense layers and elementwise maps, `z = … σ(W_1 x + b_1) …`."""

from collections.abc import Iterable, Sequence

from flax import nnx

from flowzoo.bases.factorial import FACTORIAL
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import (
    Chain,
    ConditionalAffine,
    Dense,
    DivisiveNormalization,
    LearnedSmoothLeakyReLU,
    LearnedTanhMix,
    MixtureCDF,
    Radial,
    RationalQuadraticSpline,
    SmoothLeakyReLU,
    Standardize,
    TanhMix,
    Transform,
    Whiten,
)
from flowzoo.transforms.stack import repeated

FIXED = ("smooth_leaky_relu", "tanh_mix")
LEARNED = ("learned_smooth_leaky_relu", "learned_tanh_mix", "spline", "mixture_cdf")
# Learned maps take longer to compile than dense layers, so that fewer make a stack worth it.
STACK_FROM = 4


def relative_gradient(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 2,
    activation: str = "smooth_leaky_relu",
    outer_activation: str | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    center: float = 0.0,
    gain: float = 1.0,
    num_bins: int = 16,
    bound: float = 6.0,
    radial_groups: Sequence[int] = (),
    divisive: int = 0,
    base: str = "standard_normal",
    use_bias: bool = True,
    whiten: bool = False,
    gaussianize: bool = True,
    init: str = "orthogonal",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """The flow of Gresele et al., and its successor with learned nonlinearities.

    With a fixed nonlinearity it is the paper's `W_L σ(W_{L-1} … σ(W_1 x + b_1) …) + b_L`. With a
    learned one, which has its own parameters in every coordinate, it is
    `σ_L(W_L … σ_1(W_1 σ_0(x) + b_1) …)`: alternately a linear map and a map of each coordinate by
    itself, as in a Gaussianization flow, but with matrices W that are merely invertible.

    Args:
      event_shape: `(D,)`.
      num_layers: L dense layers.
      activation: fixed: `smooth_leaky_relu` or `tanh_mix`; learned: `learned_smooth_leaky_relu`,
        `learned_tanh_mix`, `spline` (rational-quadratic) or `mixture_cdf` (of logistics).
      outer_activation: of σ_0 and σ_L, which see the data and make the latents: a learned one, or
        None for `activation`.
      alpha, beta: the fixed activation's α, and the tanh mix's β; None for their defaults.
      center: of the smooth leaky ReLU.
      gain: with a fixed activation, the first dense layer starts times this and the last divided by
        it. A small gain starts the tanh mix where it is about linear, and all layers behind a tanh
        mix start divided by its slope there.
      num_bins: of a spline, or components of a mixture.
      bound: a spline's bins cover [−bound, bound].
      radial_groups: after each dense layer, one radial transform for each number here, with that
        many groups of coordinates; for data with a common scale, such as an image's contrast.
      divisive: 1: after these, a divisive normalization, each coordinate's scale depends on the
        energies of those before it; 2: also one after a learned map, on those behind it; 0: none.
      base: a factorial base, one of `flowzoo.bases.FACTORIAL`.
      use_bias: whether the layers have biases.
      whiten: put a fixed whitening of the training data before the first dense layer, and before
        all of it a standardisation if the activation is learned. With `init="identity"` training
        then starts near the likelihood of the fitted Gaussian; with a fixed activation the nearer
        the larger its center.
      gaussianize: start a learned map such that the training data's marginals (norms) are about
        normal, which `whiten` needs for it to start at a Gaussian copula; if not, at the identity.
      init: of the dense layers, `orthogonal` (the paper's) or `identity`.
      context: labels or features; after each dense layer an affine map depends on them.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option or an event that is not a vector.

    Source: Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient optimization of the
    Jacobian term in unsupervised deep learning", NeurIPS 2020, arXiv 2006.15090; Meng, Song, Song,
    Ermon, "Gaussianization flows", arXiv 2003.01941.
    """
    _check_option("activation", activation, FIXED + LEARNED)
    if outer_activation is not None:
        _check_option("outer_activation", outer_activation, LEARNED)
        # A fixed nonlinearity stands between dense layers only.
        _check_option("activation, with an outer_activation,", activation, LEARNED)
    _check_option("base", base, FACTORIAL)
    _check_option("divisive", divisive, (0, 1, 2))
    if len(event_shape) != 1:
        raise ValueError(f"relative_gradient got event_shape {event_shape}, expected (D,).")
    if num_layers < 1:
        raise ValueError(f"relative_gradient got num_layers {num_layers}, expected at least 1.")
    if beta is not None and activation != "tanh_mix":
        raise ValueError(
            f"relative_gradient got beta {beta} with activation {activation!r}, expected "
            "activation='tanh_mix', which alone has a beta."
        )
    if not gain > 0:
        raise ValueError(f"relative_gradient got gain {gain}, expected a positive number.")
    (dim,) = event_shape
    outer = activation if outer_activation is None else outer_activation
    start = "quantiles" if gaussianize else "identity"

    def linear(scale: float = 1.0) -> list[Transform]:
        dense = Dense(dim, use_bias=use_bias, init=init, rngs=rngs)
        dense.weight[...] *= scale
        layers: list[Transform] = [dense]
        if context is not None:
            layers.append(ConditionalAffine(event_shape, context_size=context.size))
        layers += [Radial(dim, num_groups=n, init=start) for n in radial_groups]
        return layers + ([DivisiveNormalization(dim)] if divisive else [])

    def elementwise(activation: str = activation) -> Transform:
        if activation == "spline":
            return RationalQuadraticSpline(event_shape, num_bins=num_bins, bound=bound, init=start)
        if activation == "mixture_cdf":
            return MixtureCDF(event_shape, num_components=num_bins, init=start)
        if activation == "learned_smooth_leaky_relu":
            return LearnedSmoothLeakyReLU(event_shape)
        if activation == "learned_tanh_mix":
            return LearnedTanhMix(event_shape)
        given = {"alpha": alpha, "beta": beta}
        options = {name: value for name, value in given.items() if value is not None}
        if activation == "tanh_mix":
            return TanhMix(event_shape, **options)
        return SmoothLeakyReLU(event_shape, center=center, **options)

    def behind() -> list[Transform]:
        return [DivisiveNormalization(dim, reverse=True)] if divisive > 1 else []

    whitening = [Whiten(dim, center=use_bias)] if whiten else []
    if activation in LEARNED:
        standardize = [Standardize(event_shape)] if whiten else []
        first = [*standardize, elementwise(outer), *whitening]
        inner = [[*linear(), elementwise(), *behind()] for _ in range(num_layers - 1)]
        last = [*linear(), elementwise(outer), *behind()]
        if outer == activation:
            transforms = [*first, *repeated([*inner, last], STACK_FROM)]
        else:
            transforms = [*first, *repeated(inner, STACK_FROM), *last]
    else:
        mix = elementwise()
        unit = 1 / (mix.alpha + mix.beta) if isinstance(mix, TanhMix) else 1.0
        scales = [gain, *[unit] * (num_layers - 2), unit / gain] if num_layers > 1 else [1.0]
        first = linear(scales[0])
        blocks = [[elementwise(), *linear(scale)] for scale in scales[1:]]
        transforms = [*whitening, *first, *repeated(blocks)]
    return Flow(FACTORIAL[base](event_shape), Chain(transforms), context)


def _check_option(name: str, value: object, options: Iterable) -> None:
    if value not in options:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(str, options))}.")
