"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pathlib

import pytest

import flowzoo

ROOT = pathlib.Path(flowzoo.__file__).parent

# Found by their text, so that nothing is imported only to learn that it has no examples.
MODULES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8") and "benchmarks" not in path.parts
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name == "flowzoo.integrations.numpyro":
        pytest.importorskip("numpyro")
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted and not results.failed


def test_the_interface_has_examples():
    assert {"flowzoo.flow", "flowzoo.zoo", "flowzoo.relative.optax_transform"} <= set(MODULES)
