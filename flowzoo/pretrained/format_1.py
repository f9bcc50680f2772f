"""Models as cards of format 1 may describe them: one recipe for all fully connected flows."""

from collections.abc import Mapping
from typing import Any

# The recipe's old default was fixed; these names were the learned ones.
LEARNED = ("learned_smooth_leaky_relu", "learned_tanh_mix", "spline", "mixture_cdf")
KEPT = ("num_layers", "base", "use_bias", "whiten", "init", "standardize")


def current(model: Mapping[str, Any]) -> dict[str, Any]:
    """The same model in today's options; one that is in them already comes back as it is."""
    if model["name"] != "relative_gradient":
        return dict(model)
    options = {"num_layers": 2, "whiten": False, "init": "orthogonal"}
    options |= {key: model[key] for key in KEPT if key in model}
    activation = model.get("activation", "smooth_leaky_relu")
    if activation not in LEARNED:
        known = ("alpha", "center" if activation == "smooth_leaky_relu" else "beta")
        given = {key: model[key] for key in known if model.get(key) is not None}
        options["nonlinearity"] = {"name": activation, **given}
        return {"name": "fully_connected", **options, "gain": model.get("gain", 1.0)}
    start = {"init": "quantiles" if model.get("gaussianize", True) else "identity"}

    def elementwise(name: str) -> dict[str, Any]:
        num_bins, bound = model.get("num_bins", 16), model.get("bound", 6.0)
        options = {
            "spline": {"num_bins": num_bins, "bound": bound, **start},
            "mixture_cdf": {"num_components": num_bins, **start},
        }
        return {"name": name, **options.get(name, {})}

    divisive = model.get("divisive", 0)
    options["inner"] = elementwise(activation)
    if model.get("outer_activation"):
        options["outer"] = elementwise(model["outer_activation"])
    options["after_dense"] = [
        *({"name": "radial", "num_groups": n, **start} for n in model.get("radial_groups", ())),
        *[{"name": "divisive_normalization"}] * (divisive > 0),
    ]
    options["after_map"] = [{"name": "divisive_normalization", "reverse": True}] * (divisive > 1)
    return {"name": "fully_connected_learned", **options}


def current_config(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config of a run in today's keys, under a name if it has none."""
    optimizer = dict(config["optimizer"])
    if (scale := optimizer.pop("dense_scale", 1.0)) != 1.0:
        optimizer["dense_learning_rate"] = scale * optimizer["learning_rate"]
    model = current(config["model"])
    return {"name": name, "title": name, **config, "model": model, "optimizer": optimizer}
