"""The fully connected flow with learned maps between its dense layers."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.factorial import FACTORIAL
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, ConditionalAffine, Dense, Standardize, Transform, Whiten
from flowzoo.transforms.stack import repeated
from flowzoo.zoo.maps import ACROSS, LEARNED, Record, complete, make
from flowzoo.zoo.options import check_choice, check_layers, vector_size

# Learned maps take longer to compile than dense layers, so that fewer make a stack worth it.
STACK_FROM = 4


def fully_connected_learned(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 4,
    inner: Record = "spline",
    outer: Record | None = None,
    after_dense: Sequence[Record] = (),
    after_map: Sequence[Record] = (),
    base: str = "standard_normal",
    use_bias: bool = True,
    whiten: bool = True,
    init: str = "identity",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`z = σ_L(W_L … σ_1(W_1 σ_0(x) + b_1) …)`: dense layers and learned maps of each coordinate.

    Each σ has its own parameters in every coordinate: alternately a linear map and a map of each
    coordinate by itself, as in a Gaussianization flow, but with matrices W that are merely
    invertible.

    Args:
      event_shape: `(D,)`.
      num_layers: L dense layers.
      inner: σ_1 … σ_{L−1}: a record or callable, see `flowzoo.zoo.maps`, with the name `spline`
        (rational-quadratic; `num_bins`, `bound`, `init`), `mixture_cdf` (of logistics;
        `num_components`, `init`), `learned_smooth_leaky_relu` or `learned_tanh_mix`. With the init
        `quantiles`, their default, the training data's marginals are about normal at the start,
        which `whiten` needs for it to start at a Gaussian copula; the other is `identity`.
      outer: σ_0 and σ_L, which see the data and make the latents; None for `inner`.
      after_dense: records of what follows each dense layer: `radial` (`num_groups` of coordinates,
        `num_bins`, `bound`, `init`) for data with a common scale, such as an image's contrast, or
        `divisive_normalization`, where each coordinate's scale depends on the energies of those
        before it, with `reverse=True` of those behind it.
      after_map: the same, for what follows σ_1 … σ_L.
      base: a factorial base, one of `flowzoo.bases.FACTORIAL`.
      use_bias: whether the dense layers have biases.
      whiten: put a standardisation before σ_0 and a fixed whitening of the training data before
        the first dense layer.
      init: of the dense layers, `identity` or `orthogonal`.
      context: labels or features; after each dense layer an affine map depends on them.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option, one without an effect, or an event that is not a vector.

    Source: the layers and the gradient of Gresele et al., "Relative gradient optimization of the
    Jacobian term in unsupervised deep learning", NeurIPS 2020, arXiv 2006.15090; Meng, Song, Song,
    Ermon, "Gaussianization flows", arXiv 2003.01941.
    """
    dim = vector_size("fully_connected_learned", event_shape)
    check_layers("fully_connected_learned", num_layers)
    check_choice("fully_connected_learned", "base", base, FACTORIAL)
    inside = complete("inner", inner, LEARNED)
    outside = inside if outer is None else complete("outer", outer, LEARNED)
    if num_layers == 1 and outer is not None and inside != complete("inner", "spline", LEARNED):
        raise ValueError(
            f"fully_connected_learned got inner {inner!r} and outer {outer!r} with one layer, "
            "where all maps are outer ones: leave inner out, or take more layers."
        )
    behind_dense = [complete("after_dense", record, ACROSS) for record in after_dense]
    behind_map = [complete("after_map", record, ACROSS) for record in after_map]

    def linear() -> list[Transform]:
        layers: list[Transform] = [Dense(dim, use_bias=use_bias, init=init, rngs=rngs)]
        if context is not None:
            layers.append(ConditionalAffine(event_shape, context_size=context.size))
        return layers + [make(record, event_shape) for record in behind_dense]

    def block(record) -> list[Transform]:
        behind = [make(after, event_shape) for after in behind_map]
        return [*linear(), make(record, event_shape), *behind]

    first = [make(outside, event_shape)]
    if whiten:
        first = [Standardize(event_shape), *first, Whiten(dim, center=use_bias)]
    blocks = [block(inside) for _ in range(num_layers - 1)]
    last = block(outside)
    if outside == inside:
        transforms = [*first, *repeated([*blocks, last], STACK_FROM)]
    else:
        transforms = [*first, *repeated(blocks, STACK_FROM), *last]
    return Flow(FACTORIAL[base](event_shape), Chain(transforms), context)
