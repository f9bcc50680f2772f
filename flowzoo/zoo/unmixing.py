"""The flow of nonlinear ICA: its latents are sources that are independent given an observed u."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases.conditional import ConditionalFactorial
from flowzoo.bases.factorial import FACTORIAL
from flowzoo.context import ContextSpec, Labels
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, Dense, Transform, Whiten
from flowzoo.zoo.maps import BETWEEN, Record, complete, make
from flowzoo.zoo.options import check_choice, check_layers, vector_size


def unmixing(
    event_shape: tuple[int, ...],
    *,
    num_layers: int = 3,
    between: Record = "slope_spline",
    family: str = "normal",
    profile: bool = True,
    hidden_sizes: Sequence[int] = (32,),
    gain: float = 0.3,
    whiten: bool = True,
    use_bias: bool = True,
    init: str = "orthogonal",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`s = W_L σ_{L−1}(… σ_1(W_1 x + b_1) …) + b_L`, and `p(s | u) = Π_i p_i(s_i | u)`.

    The inverse of a mixing of L layers, if σ_k is the inverse of its nonlinearity. Only the base
    sees u, so that, given enough modulation, the likelihood determines the sources up to order,
    sign and scale. Without u they are independent and of a fixed law, and not determined.

    Args:
      event_shape: `(D,)`.
      num_layers: L dense layers.
      between: σ_1 … σ_{L−1}: a record or callable, see `flowzoo.zoo.maps`. Learned: `slope_spline`,
        `spline`, `learned_smooth_leaky_relu`, `learned_tanh_mix`, `mixture_cdf`, and across the
        coordinates `affine_couplings`; fixed: `inverse_tanh_mix`, `tanh_mix`, `smooth_leaky_relu`.
      family: of each p_i, as in `flowzoo.bases.ConditionalFactorial`; without a context one of
        `flowzoo.bases.FACTORIAL`, `normal` being the standard normal.
      profile: if u are labels: whether means and scales of the classes are those of the latents,
        in each batch, as in `flowzoo.bases.ConditionalFactorial`. From the first step on the
        transform then sees what u tells; a table that is trained lags behind it, and leads into
        local optima.
      hidden_sizes: of the base's network, if u are real features.
      gain: the first dense layer starts times this. The smaller, the more linear the flow is at the
        start, from where local optima are fewer.
      whiten: put a fixed whitening of the training data before the first dense layer.
      use_bias: whether the dense layers have biases.
      init: of the dense layers, `orthogonal` or `identity`.
      context: u, labels or features.
      rngs: draws the initial weights.

    Raises:
      ValueError: on an unknown option, or an event that is not a vector.

    Source: equation 4 of Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, "Relative gradient
    optimization of the Jacobian term in unsupervised deep learning", NeurIPS 2020, arXiv
    2006.15090.
    """
    dim = vector_size("unmixing", event_shape)
    check_layers("unmixing", num_layers)
    if not gain > 0:
        raise ValueError(f"unmixing got gain {gain}, expected a positive number.")
    record = complete("between", between, BETWEEN)
    transforms: list[Transform] = [Whiten(dim, center=use_bias)] if whiten else []
    for layer in range(num_layers):
        dense = Dense(dim, use_bias=use_bias, init=init, rngs=rngs)
        if layer == 0:
            dense.weight[...] *= gain
        transforms += [make(record, event_shape, rngs), dense] if layer else [dense]
    if context is None:
        name = "standard_normal" if family == "normal" else family
        check_choice("unmixing", "family, without a context,", name, FACTORIAL)
        base = FACTORIAL[name](event_shape)
    else:
        base = ConditionalFactorial(
            event_shape,
            context=context,
            family=family,
            profile=profile and isinstance(context, Labels),
            hidden_sizes=hidden_sizes,
            rngs=rngs,
        )
    return Flow(base, Chain(transforms), context)
