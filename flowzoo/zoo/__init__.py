"""One recipe for each published model: keyword options in, a `Flow` out."""

from collections.abc import Mapping
import difflib
import inspect
import json

from flax import nnx

from flowzoo.context import ContextSpec, to_json
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, Standardize
from flowzoo.zoo.gaussian import gaussian
from flowzoo.zoo.made import made, made_mog
from flowzoo.zoo.maf import maf, maf_mog
from flowzoo.zoo.neural_spline import nsf_autoregressive, nsf_coupling
from flowzoo.zoo.real_nvp import real_nvp
from flowzoo.zoo.real_nvp_image import real_nvp_image
from flowzoo.zoo.relative_gradient import relative_gradient

RECIPES = {
    "gaussian": gaussian,
    "made": made,
    "made_mog": made_mog,
    "maf": maf,
    "maf_mog": maf_mog,
    "nsf_autoregressive": nsf_autoregressive,
    "nsf_coupling": nsf_coupling,
    "real_nvp": real_nvp,
    "real_nvp_image": real_nvp_image,
    "relative_gradient": relative_gradient,
}


def build(
    config: Mapping,
    event_shape: tuple[int, ...],
    *,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Builds a model of the zoo.

    Args:
      config: `name`, one of `RECIPES`, and any options of that recipe. Every model also has the
        option `standardize`: it then sees the training data with mean 0 and variance 1 in each
        coordinate.
      event_shape: shape of one event.
      context: what to condition the model on, None for an unconditional one.
      rngs: draws the initial parameters.

    Raises:
      ValueError: if the name or an option is unknown, or the recipe refuses a value.

    Example:
      >>> from flax import nnx
      >>> import flowzoo
      >>> flow = flowzoo.build({"name": "relative_gradient"}, (8,), rngs=nnx.Rngs(0))
      >>> flow.event_shape
      (8,)
    """
    options = dict(config)
    name, standardize = options.pop("name", None), options.pop("standardize", False)
    if name not in RECIPES:
        raise ValueError(_unknown("model", name, list(RECIPES)))
    recipe = RECIPES[name]
    known = set(inspect.signature(recipe).parameters) - {"event_shape", "context", "rngs"}
    for key in options:
        if key not in known:
            raise ValueError(_unknown(f"option of {name}", key, sorted(known | {"standardize"})))
    flow = recipe(tuple(event_shape), context=context, rngs=rngs, **options)
    if standardize:
        transform = Chain([Standardize(flow.event_shape), flow.transform])
        flow = Flow(flow.base, transform, flow.context)
    flow.recipe = _as_json(config, event_shape, context)
    return flow


def _as_json(
    config: Mapping, event_shape: tuple[int, ...], context: ContextSpec | None
) -> str | None:
    """What `build` was given, None if an option of it is code or an array."""
    given = {"model": dict(config), "event_shape": event_shape, "context": to_json(context)}
    try:
        return json.dumps(given, default=dict)  # of a ConfigDict
    except (TypeError, ValueError):
        return None


def _unknown(kind: str, name: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r}.{hint} Known: {', '.join(known)}."
