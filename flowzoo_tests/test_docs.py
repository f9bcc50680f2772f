"""The reference documentation builds without a warning."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def test_the_documentation_builds(tmp_path):
    pytest.importorskip("pdoc")
    program = [sys.executable, str(ROOT / "docs" / "build.py"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "flowzoo" / "transforms" / "dense.html").read_text()
    assert "log_det = log|det W|" in page
