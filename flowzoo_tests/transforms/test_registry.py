"""The registry that drives the property tests holds every public transform."""

import functools
import inspect

import pytest

from flowzoo import transforms as T
from flowzoo_tests.transforms.registry import TRANSFORMS
from flowzoo_tests.transforms.test_properties import arrays


def public_transforms(names) -> set[type]:
    classes = {value for value in (getattr(T, name) for name in names) if inspect.isclass(value)}
    return {c for c in classes if issubclass(c, T.Transform) and not inspect.isabstract(c)}


@functools.cache
def kinds(name: str) -> frozenset[type]:
    """The classes of an entry, of what an `Inverse` turns round, and of a `Chain`'s links."""
    # Building all of them takes seconds. The property tests keep what they built under this call.
    found, rest = set(), [arrays(name, True)]
    while rest:
        transform = rest.pop()
        found.add(type(transform))
        if type(transform) is T.Inverse:
            rest.append(transform.transform)
        elif type(transform) is T.Chain:
            found.update(map(type, transform.transforms))
    return frozenset(found)


def registered(names) -> set[type]:
    return set().union(*map(kinds, names))


def test_every_public_transform_is_in_the_registry():
    missing = public_transforms(T.__all__) - registered(TRANSFORMS)
    assert not missing, f"add a line for each to registry.py: {missing}"


@pytest.mark.parametrize("name", ["spline", "inverse_autoregressive"])
def test_a_forgotten_one_is_missed(name):
    kind = kinds(name) - {T.Inverse}
    others = [other for other in TRANSFORMS if not kind & kinds(other)]
    assert public_transforms(T.__all__) - registered(others) == kind
