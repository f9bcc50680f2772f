"""`import flowzoo` is light, its names stay what they are, and what is imported is declared."""

import ast
import importlib
import pathlib
import re
import subprocess
import sys
import tomllib

import optax
import pytest

import flowzoo

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = pathlib.Path(flowzoo.__file__).parent
HEAVY = {
    "array_record",
    "diffrax",
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
    # These rooms are loaded when they are used. (Flax loads optax by itself.)
    later = ("data", "fitting", "pretrained", "reporting", "training")
    assert not {f"flowzoo.{room}" for room in later} & set(modules)
    # Wanted is 1.5 s of wall time on an idle machine; tests share theirs.
    assert float(cpu) < 5


def test_public_names():
    assert set(flowzoo.__all__) == {"Flow", "build", *flowzoo._LAZY}
    for name in flowzoo.__all__:
        assert callable(getattr(flowzoo, name)), name
    assert {"Flow", "build", "load_dataset", "scale_by_relative_gradient"} <= set(flowzoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'relative_gradients'"):
        flowzoo.relative_gradients  # noqa: B018


def test_relative_gradient_is_the_function_whatever_was_imported():
    for module in ("flowzoo.relative", "flowzoo.relative.optax_transform"):
        importlib.import_module(module)
        optimizer = flowzoo.relative_gradient(1e-3, "w", layout="out_in")
        assert isinstance(optimizer, optax.GradientTransformation)


def test_what_is_imported_is_declared():
    """Each import of the package is a dependency, or belongs to the extra that its part needs."""
    project, imported = declared(), imports()
    required = {name for name in imported if imported[name] - OPTIONAL_PARTS}
    asked_for = project["dependencies"] | project["hdf5"] | project["continuous"]
    assert required - asked_for == set()
    optional = {name for name in imported if imported[name] & OPTIONAL_PARTS}
    extras = project["hdf5"] | project["numpyro"] | project["benchmarks"]
    # flowjax brings equinox and paramax, on which it is built.
    assert optional - project["dependencies"] - extras == {"equinox", "paramax"}


def test_what_is_declared_is_imported():
    project, imported = declared(), set(imports())
    # tensorflow-datasets imports importlib_resources and does not ask for it.
    assert project["dependencies"] - imported == {"importlib-resources"}
    assert set().union(*(project[extra] for extra in EXTRAS)) <= imported


EXTRAS = ("hdf5", "continuous", "numpyro", "benchmarks")
# Parts of the package that say which extra they need when it is not installed.
OPTIONAL_PARTS = {"benchmarks", "integrations", "studies"}
# Distributions whose name is not that of their module.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "absl": "absl-py",
    "haiku": "dm-haiku",
    "orbax": "orbax-checkpoint",
    "picard": "python-picard",
    "sklearn": "scikit-learn",
}


def declared() -> dict[str, set[str]]:
    """Names of the distributions that `pyproject.toml` asks for, by extra."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    groups = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    return {
        group: {normal(re.match(r"[\w-]+", line)[0]) for line in lines}
        for group, lines in groups.items()
    }


def imports() -> dict[str, set[str]]:
    """Distributions that the package imports, each with the parts of the package that do."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names):
                    modules = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module), level=0):
                    modules = [module]
                case _:
                    continue
            for name in {module.split(".")[0] for module in modules}:
                if name not in sys.stdlib_module_names | {"flowzoo"}:
                    found.setdefault(normal(DISTRIBUTIONS.get(name, name)), set()).add(part)
    return found


def normal(name: str) -> str:
    return name.lower().replace("_", "-")
