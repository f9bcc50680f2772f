"""Imports between the rooms of the package run one way."""

import ast
from collections.abc import Iterator
import graphlib
import pathlib

import flowzoo

ROOT = pathlib.Path(flowzoo.__file__).parent


def imported(path: pathlib.Path) -> Iterator[str]:
    """The modules of flowzoo that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "flowzoo":
            names = [f"flowzoo.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name for name in names if name.startswith("flowzoo."))


def rooms() -> dict[str, set[str]]:
    """For each folder or module at the top of the package those that it imports."""
    graph: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            others = {name.split(".")[1] for name in imported(path)} - {room}
            graph.setdefault(room, set()).update(others)
    return graph


def test_no_room_imports_one_that_imports_it():
    graph = rooms()
    assert {"numerics", "transforms", "zoo", "training", "pretrained"} <= graph.keys()
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_each_room_knows_only_what_it_needs():
    graph = rooms()
    assert graph["numerics"] == set()
    assert graph["nets"] == graph["relative"] == {"numerics"}
    assert graph["transforms"] <= {"numerics", "nets", "relative"}
    assert graph["bases"] <= {"numerics", "nets", "context"}
    assert graph["context"] <= {"numerics"}
    for room in ("transforms", "bases", "flow", "zoo"):
        assert not graph[room] & {"data", "training", "reporting", "pretrained"}
    assert not graph["data"] & {"flow", "zoo", "training"}
    assert not graph["training"] & {"reporting", "pretrained", "fitting"}
