"""The registry that drives the property tests holds every public transform."""

import inspect

from flax import nnx
import pytest

from flowzoo import transforms as T
from flowzoo_tests.transforms.registry import TRANSFORMS


def public_transforms(names) -> set[type]:
    classes = {value for value in (getattr(T, name) for name in names) if inspect.isclass(value)}
    return {c for c in classes if issubclass(c, T.Transform) and not inspect.isabstract(c)}


def registered(transforms) -> set[type]:
    """The classes of the entries, of what an `Inverse` turns round, and of a `Chain`'s links."""

    def kinds(transform) -> set[type]:
        if type(transform) is T.Inverse:
            return {T.Inverse} | kinds(transform.transform)
        links = transform.transforms if type(transform) is T.Chain else []
        return {type(transform), *map(type, links)}

    return set().union(*(kinds(build(nnx.Rngs(0))) for build in transforms.values()))


def test_every_public_transform_is_in_the_registry():
    missing = public_transforms(T.__all__) - registered(TRANSFORMS)
    assert not missing, f"add a line for each to registry.py: {missing}"


@pytest.mark.parametrize("name", ["spline", "inverse_autoregressive"])
def test_a_forgotten_one_is_missed(name):
    kind = registered({name: TRANSFORMS[name]}) - {T.Inverse}
    others = {
        key: build for key, build in TRANSFORMS.items() if not kind & registered({key: build})
    }
    assert public_transforms(T.__all__) - registered(others) == kind
