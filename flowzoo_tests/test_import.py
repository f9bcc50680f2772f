"""`import flowzoo` is light, and its names stay what they are."""

import importlib
import subprocess
import sys

import optax
import pytest

import flowzoo

HEAVY = {
    "array_record",
    "matplotlib",
    "orbax",
    "sklearn",
    "tensorboardX",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
}
PROGRAM = """
import sys, time
start = time.perf_counter(), time.process_time()
import flowzoo
print(time.perf_counter() - start[0], time.process_time() - start[1], *sys.modules)
"""


def test_import_loads_no_heavy_library():
    program = [sys.executable, "-c", PROGRAM]
    wall, cpu, *modules = subprocess.run(
        program, check=True, capture_output=True, text=True
    ).stdout.split()
    print(f"import flowzoo: {float(wall):.2f} s, of which {float(cpu):.2f} s of CPU time")
    assert {"flowzoo", "jax", "flax"} <= set(modules)
    assert not HEAVY & set(modules)
    # Wanted is 1.5 s of wall time on an idle machine; tests share theirs.
    assert float(cpu) < 5


def test_public_names():
    for name in flowzoo.__all__:
        assert callable(getattr(flowzoo, name)), name
    assert {"Flow", "build", "load_dataset", "scale_by_relative_gradient"} <= set(flowzoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'relative_gradients'"):
        flowzoo.relative_gradients  # noqa: B018


def test_relative_gradient_is_the_function_whatever_was_imported():
    for module in ("flowzoo.relative", "flowzoo.zoo.relative_gradient"):
        importlib.import_module(module)
        optimizer = flowzoo.relative_gradient(1e-3, "w", layout="out_in")
        assert isinstance(optimizer, optax.GradientTransformation)
