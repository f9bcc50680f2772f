"""The notebooks run in an empty folder, with less work, and are stored without outputs."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colabs").glob("*.ipynb"))
PROGRAM = """
import json, sys
import matplotlib
matplotlib.use("svg")  # a notebook's backend, which no import may change
names = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), names)
assert matplotlib.get_backend() == "svg"
"""


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} >= {
        "pretrained",
        "relative_gradient",
        "train_your_own",
        "zoo_tour",
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, tmp_path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert "google.colab" in "".join(code[0]["source"])
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    # Most of the time is compilation.
    environment |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "PYTHONPATH": str(ROOT)}
    environment["FLOWZOO_NOTEBOOK_SMOKE"] = "1"
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-c", PROGRAM, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
