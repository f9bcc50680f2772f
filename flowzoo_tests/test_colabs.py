"""The notebooks run in an empty folder as readers see them, with less work put in from outside.

Each has one cell tagged `parameters`; what stands in `LESS` is assigned after it, as papermill
does, and in a dictionary to what the entry names. No cell knows of it.
"""

import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest

from flowzoo_tests.quick import QUICK
from flowzoo_tests.test_docs import repository

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colabs").glob("*.ipynb"))
LESS = {
    "depth_and_conditioning": {
        "PAIRS": (1, 2),
        "FIT_STEPS": 10,
        "TRAIN_STEPS": 10,
        "DELTAS": (1.0, 0.5),
        "COUPLINGS": 1,
    },
    "nonlinear_ica": {"STAGES": ((1, 5),), "ROWS": 30},
    "pretrained": {
        "CLIMB_STEPS": 20,
        "LANGEVIN_STEPS": 30,
        "GALLERY": ("toy_moons", "digits_learned", "digits_maf5_conditional"),
    },
    "relative_gradient": {"SIZES": (32, 64), "LAYERS": 2, "STEPS": (3, 50), "EPOCHS": 1},
    "train_your_own": {"EPOCHS": 1},
    "zoo_tour": {
        "EPOCHS": 1,
        "ANGLES": (0,),
        "MODELS": {
            "MAF": {"num_layers": 2},
            "Real NVP": {"num_layers": 2},
            "fully connected": {"num_layers": 2},
            "fully connected\nwith splines": {"num_layers": 2},
        },
    },
}
PROGRAM = """
import json, sys
import matplotlib
from flowzoo_tests.quick import make_programs_quickly
make_programs_quickly()
matplotlib.use("svg")  # a notebook's backend, which no import may change
names, less = {"__name__": "__main__"}, json.loads(sys.argv[2])
def lessened(full, less):
    if not isinstance(less, dict):
        return less
    assert less.keys() <= full.keys(), "LESS has a name that the notebook has not."
    return full | {name: lessened(full[name], value) for name, value in less.items()}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), names)
    if "parameters" in cell["metadata"].get("tags", []):
        names |= lessened(names, less)
assert matplotlib.get_backend() == "svg"
"""


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == set(LESS)


def code_cells(path: pathlib.Path) -> list[dict]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path):
    """Title, badge, an installation from the repository, parameters; stored without outputs."""
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    assert first["cell_type"] == "markdown" and first["source"][0].startswith("# ")
    slug = repository().removeprefix("https://github.com/")
    address = "https://colab.research.google.com/github"
    assert f"]({address}/{slug}/blob/main/colabs/{path.name})" in "".join(first["source"])
    code = code_cells(path)
    install = "".join(code[0]["source"])
    assert "google.colab" in install and f'"git+{repository()}"' in install
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert all(
        isinstance(node, ast.Assign) for node in ast.parse("".join(tagged[0]["source"])).body
    )
    for cell in code:
        assert not cell["outputs"] and not cell["execution_count"]
        assert "environ" not in "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path):
    environment = os.environ | QUICK | {"PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-W", "error::SyntaxWarning", "-c", PROGRAM]
    done = subprocess.run(
        [*program, str(path), json.dumps(LESS[path.stem])],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
