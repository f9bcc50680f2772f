"""One recipe for each published model: keyword options in, a `Flow` out."""

from collections.abc import Iterable, Mapping
import inspect
import json
import operator
from typing import Any

from flax import nnx

from flowzoo.context import ContextSpec, to_json
from flowzoo.flow import Flow
from flowzoo.numerics.names import unknown
from flowzoo.transforms import Chain, Standardize
from flowzoo.zoo import maps
from flowzoo.zoo.continuous_flow import continuous_flow
from flowzoo.zoo.convolutional import convolutional
from flowzoo.zoo.fully_connected import fully_connected
from flowzoo.zoo.fully_connected_learned import fully_connected_learned
from flowzoo.zoo.gaussian import gaussian
from flowzoo.zoo.glow import glow
from flowzoo.zoo.made import made, made_mog
from flowzoo.zoo.maf import maf, maf_mog
from flowzoo.zoo.neural_autoregressive import bnaf, gaussianization, naf
from flowzoo.zoo.neural_spline import nsf_autoregressive, nsf_coupling
from flowzoo.zoo.options import check_types
from flowzoo.zoo.parallel_multiscale import parallel_multiscale
from flowzoo.zoo.real_nvp import real_nvp
from flowzoo.zoo.real_nvp_image import real_nvp_image
from flowzoo.zoo.residual import residual_flow
from flowzoo.zoo.tarflow import tarflow
from flowzoo.zoo.unmixing import unmixing
from flowzoo.zoo.variational import planar, radial_flow, sylvester

RECIPES = {
    "convolutional": convolutional,
    "fully_connected": fully_connected,
    "fully_connected_learned": fully_connected_learned,
    "gaussian": gaussian,
    "glow": glow,
    "made": made,
    "made_mog": made_mog,
    "maf": maf,
    "maf_mog": maf_mog,
    "naf": naf,
    "gaussianization": gaussianization,
    "bnaf": bnaf,
    "planar": planar,
    "radial_flow": radial_flow,
    "sylvester": sylvester,
    "residual_flow": residual_flow,
    "continuous_flow": continuous_flow,
    "nsf_autoregressive": nsf_autoregressive,
    "nsf_coupling": nsf_coupling,
    "real_nvp": real_nvp,
    "real_nvp_image": real_nvp_image,
    "parallel_multiscale": parallel_multiscale,
    "tarflow": tarflow,
    "unmixing": unmixing,
}
# The options that are records of transforms, and the names that fit there.
MAPS = {
    "nonlinearity": maps.FIXED,
    "inner": maps.LEARNED,
    "outer": maps.LEARNED,
    "pixel_map": maps.LEARNED,
    "after_dense": maps.ACROSS,
    "after_map": maps.ACROSS,
    "between": maps.BETWEEN,
}


def build(
    config: str | Mapping[str, Any],
    event_shape: tuple[int, ...],
    *,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs | int,
) -> Flow:
    """Builds a model of the zoo.

    Args:
      config: `name`, one of `RECIPES`, and any options of that recipe; or the name alone. Every
        model also has the option `standardize`: it then sees the training data with mean 0 and
        variance 1 in each coordinate.
      event_shape: shape of one event.
      context: what to condition the model on, None for an unconditional one.
      rngs: draws the initial parameters; a seed stands for `nnx.Rngs(seed)`.

    Raises:
      ValueError: if the name or an option is unknown, or the recipe refuses a value.

    Example:
      >>> from flax import nnx
      >>> import flowzoo
      >>> flow = flowzoo.build("fully_connected", (8,), rngs=nnx.Rngs(0))
      >>> flow.event_shape
      (8,)
    """
    model = complete(config)
    if not (context is None or isinstance(context, ContextSpec)):
        raise ValueError(
            f"build got context {context!r}, expected what to condition on, such as "
            "flowzoo.context.Labels(10) or Features(3)."
        )
    if not isinstance(rngs, nnx.Rngs):
        try:
            rngs = nnx.Rngs(operator.index(rngs))
        except TypeError:
            raise ValueError(f"build got rngs {rngs!r}, expected nnx.Rngs or a seed.") from None
    if not isinstance(event_shape, Iterable):
        raise ValueError(f"build got event_shape {event_shape!r}, expected a shape such as (8,).")
    options = {key: value for key, value in model.items() if key not in ("name", "standardize")}
    flow = RECIPES[model["name"]](tuple(event_shape), context=context, rngs=rngs, **options)
    if model["standardize"]:
        transform = Chain([Standardize(flow.event_shape), flow.transform])
        flow = Flow(flow.base, transform, flow.context)
    flow.recipe = _as_json(model, event_shape, context)
    return flow


def _as_json(
    model: Mapping[str, Any], event_shape: tuple[int, ...], context: ContextSpec | None
) -> str | None:
    """What `build` was given, None if an option of it is code or an array."""
    given = {"model": model, "event_shape": event_shape, "context": to_json(context)}
    try:
        return json.dumps(given, default=dict)  # of a ConfigDict
    except (TypeError, ValueError):
        return None


def defaults(name: str) -> dict[str, Any]:
    """The options of a recipe that have a default, `standardize` included.

    Raises:
      ValueError: if there is no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(unknown("model", name, RECIPES))
    parameters = _parameters(name)
    return {k: p.default for k, p in parameters.items() if p.default is not p.empty} | {
        "standardize": False
    }


def complete(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """`name` and every option of a model, also those that were left at their defaults.

    Raises:
      ValueError: if the name or an option is unknown, or an option has another type than its
        default.
    """
    options = {"name": config} if isinstance(config, str) else dict(config)
    name = options.pop("name", None)
    every = defaults(name)
    known = {*_parameters(name), *every}
    for key in options:
        if key not in known:
            raise ValueError(unknown(f"option of {name}", key, sorted(known)))
    for key in sorted(known - every.keys() - options.keys()):
        raise ValueError(f"{name} needs the option {key}; it has no default.")
    given = {key: value for key, value in options.items() if key in every}
    check_types(name, {k: v for k, v in given.items() if k not in MAPS}, every)
    options = every | options
    for key, kinds in MAPS.items():
        if (value := options.get(key)) is None:
            continue
        if key.startswith("after_"):
            if isinstance(value, str | Mapping) or callable(value):
                raise ValueError(f"{name} got {key} {value!r}, expected a sequence of such maps.")
            options[key] = tuple(maps.complete(key, record, kinds) for record in value)
        else:
            options[key] = maps.complete(key, value, kinds)
    return {"name": name, **options}


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(RECIPES[name]).parameters)
    for key in ("event_shape", "context", "rngs"):
        del parameters[key]
    return parameters
