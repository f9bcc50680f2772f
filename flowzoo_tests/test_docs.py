"""The repository is named once, and everything else agrees with it."""

import json
import pathlib
import re
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).parents[1]


def repository() -> str:
    """The address of the repository, which `pyproject.toml` says once."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["urls"]["Repository"]


def test_the_repository_is_where_the_clone_came_from():
    """Finds the placeholder if it was forgotten: a clone from GitHub knows its own address."""
    command = ["git", "-C", str(ROOT), "config", "--get", "remote.origin.url"]
    done = subprocess.run(command, capture_output=True, text=True)
    hosted = re.fullmatch(r".*github\.com[:/](.*?)(\.git)?/?\n?", done.stdout)
    if hosted:
        assert repository() == f"https://github.com/{hosted[1]}"
    assert re.fullmatch(r"https://github\.com/[\w-]+/[\w-]+", repository())


def test_every_address_of_the_repository_is_the_declared_one():
    slug = repository().removeprefix("https://github.com/")
    pages = [ROOT / "README.md", *ROOT.glob("*.cff"), *ROOT.glob("docs/**/*.md")]
    texts = {path: path.read_text(encoding="utf-8") for path in pages if "_build" not in path.parts}
    for path in ROOT.glob("colabs/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path] = "".join("".join(cell["source"]) for cell in cells)
    for path, text in texts.items():
        for found in re.findall(r"github(?:\.com)?/([\w-]+/flowzoo)", text):
            assert found == slug, f"{path.name} names {found}, pyproject.toml {slug}"
