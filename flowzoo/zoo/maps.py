"""Records of transforms, `{"name": "spline", "num_bins": 8}`, from which recipes make their parts.

A record may also be a plain name, or a callable that takes the event shape and returns a transform.
"""

from collections.abc import Callable, Mapping, Sequence
import inspect
from typing import Any

from flax import nnx

from flowzoo.numerics.names import unknown
from flowzoo.transforms import (
    AffineCoupling,
    Chain,
    DivisiveNormalization,
    Inverse,
    LearnedSmoothLeakyReLU,
    LearnedTanhMix,
    MixtureCDF,
    Radial,
    RationalQuadraticSpline,
    SlopeSpline,
    SmoothLeakyReLU,
    TanhMix,
    Transform,
    alternating_mask,
)
from flowzoo.zoo.options import check_types

Maker = Callable[[tuple[int, ...]], Transform]
Record = str | Mapping[str, Any] | Maker


def inverse_tanh_mix(
    event_shape: tuple[int, ...], *, alpha: float = 1.0, beta: float = 0.1
) -> Transform:
    """`σ⁻¹` of `σ(x) = tanh(α x) + β x`."""
    return Inverse(TanhMix(event_shape, alpha=alpha, beta=beta))


def affine_couplings(
    event_shape: tuple[int, ...], *, hidden_sizes: Sequence[int] = (64, 64), rngs: nnx.Rngs
) -> Transform:
    """Two affine couplings, of which each changes the coordinates that the other keeps."""
    options = dict(hidden_sizes=hidden_sizes, rngs=rngs)
    return Chain([AffineCoupling(alternating_mask(*event_shape, i), **options) for i in range(2)])


# The transform of each name, and where a recipe's default is another than the transform's: learned
# maps start such that the training data's marginals (of radial maps: norms) are about normal.
FIXED: dict[str, tuple[Callable, dict[str, Any]]] = {
    "smooth_leaky_relu": (SmoothLeakyReLU, {}),
    "tanh_mix": (TanhMix, {}),
}
LEARNED: dict[str, tuple[Callable, dict[str, Any]]] = {
    "spline": (RationalQuadraticSpline, {"init": "quantiles"}),
    "mixture_cdf": (MixtureCDF, {"num_components": 16, "init": "quantiles"}),
    "learned_smooth_leaky_relu": (LearnedSmoothLeakyReLU, {}),
    "learned_tanh_mix": (LearnedTanhMix, {}),
    "slope_spline": (SlopeSpline, {}),
}
# Of nonlinear ICA, whose maps start from a shape and not from the marginals of the data.
BETWEEN: dict[str, tuple[Callable, dict[str, Any]]] = (
    FIXED
    | {"inverse_tanh_mix": (inverse_tanh_mix, {}), "affine_couplings": (affine_couplings, {})}
    | {
        name: (kind, changed | {"init": "identity"} if "init" in changed else changed)
        for name, (kind, changed) in LEARNED.items()
    }
)
ACROSS: dict[str, tuple[Callable, dict[str, Any]]] = {
    "radial": (Radial, {"init": "quantiles"}),
    "divisive_normalization": (DivisiveNormalization, {}),
}
KINDS = FIXED | LEARNED | BETWEEN | ACROSS


def complete(option: str, record: Record, kinds: Mapping[str, Any]) -> Any:
    """A record with every option of its transform; a callable as it is.

    Args:
      option: the recipe's option that it is given as, for messages.
      record: what was given.
      kinds: the names that fit there, a part of `KINDS`.

    Raises:
      ValueError: if the name or an option is unknown there, or an option has another type.
    """
    if callable(record):
        return record
    given = {"name": record} if isinstance(record, str) else dict(record)
    name = given.pop("name", None)
    if name not in kinds:
        raise ValueError(unknown(f"map for {option}", name, kinds))
    transform, changed = kinds[name]
    function = transform.__init__ if inspect.isclass(transform) else transform
    parameters = inspect.signature(function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty} | changed
    for key in given:
        if key not in defaults:
            raise ValueError(unknown(f"option of {option}, a {name},", key, defaults))
    check_types(f"{option}, a {name},", given, defaults)
    return {"name": name, **defaults, **given}


def make(record: Any, event_shape: tuple[int, ...], rngs: nnx.Rngs | None = None) -> Transform:
    """The transform of a complete record, or of a callable.

    Args:
      record: from `complete`.
      event_shape: what it maps.
      rngs: draws the weights of those that have networks, `affine_couplings`.
    """
    if callable(record):
        return record(event_shape)
    options = dict(record)
    transform, _ = KINDS[options.pop("name")]
    if transform is affine_couplings:
        return transform(event_shape, rngs=rngs, **options)
    # What acts across the coordinates of a vector takes their number.
    across = transform in (Radial, DivisiveNormalization)
    return transform(event_shape[0] if across else event_shape, **options)
