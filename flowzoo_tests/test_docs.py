"""What README, guides and the other pages show runs, exists and agrees.

Python blocks are executed page by page, commands are held against the flags of their programs and
the keys of their configs, links against files and headings.
"""

import ast
import functools
import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

import flowzoo
from flowzoo.__main__ import programs
from flowzoo.pretrained import show_pretrained
from flowzoo.training.config_file import read_config

ROOT = pathlib.Path(__file__).parents[1]
GENERATED = {"_build", "models", "notebooks", "reference"}
PAGES = [
    *ROOT.glob("*.md"),
    *(
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not GENERATED & set(path.relative_to(ROOT / "docs").parts)
    ),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: pathlib.Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in some languages."""
    found = FENCE.findall(path.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def named(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


RUN = [path for path in PAGES if blocks(path, "python") and path.name != "CONTRIBUTING.md"]


@pytest.mark.parametrize("path", RUN, ids=named)
def test_python_blocks_run(path, tmp_path, monkeypatch):
    """The blocks of a page, one after the other, in an empty folder and with less training."""
    fit = flowzoo.fit

    def shorter(*arguments, num_epochs=None, **options):
        fewer = 2 if num_epochs is None else min(num_epochs, 2)
        return fit(*arguments, num_epochs=fewer, **options)

    monkeypatch.setattr(flowzoo, "fit", shorter, raising=False)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": path.stem}
    for text in blocks(path, "python"):
        exec(compile(text, named(path), "exec"), names)


def test_the_guides_have_python():
    assert {"README.md", "docs/get_started.md", "docs/guides/optax.md"} <= set(map(named, RUN))


def commands(path: pathlib.Path) -> list[list[str]]:
    """Each `python -m flowzoo…` in the shell blocks of a page and within its sentences."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
    lines += re.findall(r"(?<!`)`(python -m flowzoo[^`]*)`(?!`)", FENCE.sub("", text))
    found = []
    for line in lines:
        for part in re.split(r"&&", line.split("  #")[0]):
            words = shlex.split(part)
            if words[:2] == ["python", "-m"] and words[2].split(".")[0] == "flowzoo":
                found.append(words[2:])
    return found


COMMANDS = sorted({tuple(command) for path in PAGES for command in commands(path)})


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command(command):
    module, *arguments = command
    if "<name>" in module:
        return
    assert module == "flowzoo" or module in dict(programs()), f"There is no program {module}."
    flags = flags_of(module)
    for argument in arguments:
        if not argument.startswith("--"):
            assert module in ("flowzoo.report", "flowzoo.pretrained", "flowzoo.data.prepare")
            continue
        name, _, value = argument.removeprefix("--").partition("=")
        if name.startswith(("config.", "sweep.")):
            continue
        assert name in flags, f"{module} has no flag --{name}."
        if name == "config":
            check_config(value, arguments)
        if name == "pretrained" and "/" not in value and value != "NAME":
            assert show_pretrained(value)
    if module == "flowzoo.pretrained":
        assert not arguments or arguments[0] in ("list", "show", "export", "safetensors")


@functools.cache
def flags_of(module: str) -> set[str]:
    """Names of the flags that a program defines, those of what it shares with others included."""
    path = pathlib.Path(importlib.util.find_spec(module).origin)
    if path.name == "__init__.py":
        path = path.with_name("__main__.py")
    text = path.read_text(encoding="utf-8")
    found = set(re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", text))
    if "STUDY = " in text:
        study = importlib.import_module(module).STUDY
        return found | {"out", "smoke", *study.options}
    if "define_config" in text:
        found.add("config")
    return found | {"help", "traceback"}


def check_config(value: str, arguments: list[str]) -> None:
    """A config can be read with its argument and its changed keys."""
    changed = [word.removeprefix("--config.") for word in arguments if word.startswith("--config.")]
    overrides = dict(word.split("=", 1) for word in changed)
    assert read_config(value, overrides).name


def test_both_commands_stand_at_the_top():
    first, second, *_ = blocks(ROOT / "README.md", "sh")
    install = "python3 -m venv .venv && . .venv/bin/activate && pip install "
    assert first == f"{install}. && python -m flowzoo.train --config=configs/digits.py\n"
    assert second == f"{install}-e '.[test]' && python -m pytest -n 2\n"
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install --quiet -e '.[test]'\npython -m pytest -n 2\n" in text


def anchors(path: pathlib.Path) -> set[str]:
    """The headings of a page as links name them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_links(path):
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^()\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    for target in targets:
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        if {"notebooks", "reference"} & set(pathlib.PurePath(file).parts):
            source = ROOT / "colabs" / there.name
            module = ROOT / (there.name.removesuffix(".md").replace(".", "/") + ".py")
            assert source.exists() or module.exists() or there.name == "index.md", target
            continue
        assert there.exists(), f"{named(path)} links to {target}."
        if anchor:
            assert anchor in anchors(there), f"{named(path)} links to {target}."


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
    texts = {path: path.read_text(encoding="utf-8") for path in [*PAGES, ROOT / "CITATION.cff"]}
    for path in ROOT.glob("colabs/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path] = "".join("".join(cell["source"]) for cell in cells)
    for path, text in texts.items():
        for found in re.findall(r"github(?:\.com)?/([\w-]+/flowzoo)", text):
            assert found == slug, f"{path.name} names {found}, pyproject.toml {slug}"


def test_the_version_is_stated_once():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {flowzoo.__version__}\n" in citation
    assert f"\n## {flowzoo.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_programs_are_listed():
    def run(*arguments):
        program = [sys.executable, "-m", "flowzoo", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(program, capture_output=True, text=True, env=environment)

    listed = run().stdout
    for name in ("train", "evaluate", "sample", "pretrained", "data.prepare", "benchmarks.peers"):
        assert re.search(rf"python -m flowzoo\.{name} +[A-Z]", listed), name
    assert run("--version").stdout == f"flowzoo {flowzoo.__version__}\n"
    assert run("--nothing").returncode == 1
    described = (ROOT / "docs" / "guides" / "commands.md").read_text(encoding="utf-8")
    for name, _ in programs():
        if "benchmarks" not in name and "studies" not in name:
            assert f"`python -m {name}`" in described, f"docs/guides/commands.md misses {name}."


def test_every_packaged_model_has_a_picture():
    """`python docs/pictures.py` draws them."""
    folder = ROOT / "docs" / "images" / "models"
    names = {entry.name for entry in flowzoo.list_pretrained()}
    assert {path.stem for path in folder.glob("*.png")} == names


def test_the_public_api_has_docstrings():
    """The reference has something to show for each public name."""
    for module in (flowzoo, flowzoo.transforms, flowzoo.bases, flowzoo.relative):
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing):
                assert (thing.__doc__ or "").strip(), f"{module.__name__}.{name}"


def test_the_example_of_contributing_is_python():
    """Python blocks parse, also those that are not executed."""
    for text in blocks(ROOT / "CONTRIBUTING.md", "python"):
        ast.parse(text)
