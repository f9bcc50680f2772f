"""Preprocessing as JSON: which transforms with which options; arrays are saved apart."""

from typing import Any

from flowzoo.transforms import (
    Affine,
    Arcsinh,
    Chain,
    Log,
    Logit,
    Reshape,
    Supports,
    Transform,
    Units,
)

# Transforms whose arrays are all that they are made of.
PLAIN = {each.__name__: each for each in (Affine, Arcsinh, Log, Units)}
KNOWN = ", ".join(["Chain", "Logit", "Reshape", "Supports", *PLAIN])


def to_spec(transform: Transform) -> dict[str, Any]:
    """Describes a preprocessing.

    Raises:
      ValueError: if it is made of other transforms than `Chain`, `Logit`, `Reshape`, `Supports`
        and those in `PLAIN`.
    """
    spec = {"name": type(transform).__name__, "event_shape": list(transform.event_shape)}
    if type(transform) is Chain:
        return spec | {"transforms": [to_spec(each) for each in transform.transforms]}
    if type(transform) in PLAIN.values():
        return spec
    if type(transform) is Logit:
        return spec | {"alpha": transform.alpha}
    if type(transform) is Reshape:
        return spec | {"latent_shape": list(transform.latent_shape)}
    if type(transform) is Supports:
        return spec | {
            "supports": [r if isinstance(r, str) else dict(r) for r in transform.supports]
        }
    raise ValueError(
        f"A preprocessing with {spec['name']} cannot be saved, only {KNOWN}: add it to "
        "flowzoo/pretrained/preprocessing.py."
    )


def from_spec(spec: dict[str, Any]) -> Transform:
    """Builds what `to_spec` described, its arrays at their default values.

    Raises:
      ValueError: if it names a transform that this version does not know.
      KeyError: if an entry is missing.
    """
    name, event_shape = spec["name"], tuple(spec["event_shape"])
    if name == "Chain":
        return Chain([from_spec(each) for each in spec["transforms"]])
    if name in PLAIN:
        return PLAIN[name](event_shape)
    if name == "Logit":
        return Logit(event_shape, alpha=spec["alpha"])
    if name == "Reshape":
        return Reshape(event_shape, tuple(spec["latent_shape"]))
    if name == "Supports":
        return Supports(spec["supports"])
    raise ValueError(f"Unknown preprocessing {name!r}, expected one of {KNOWN}.")
