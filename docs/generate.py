"""Writes the pages that are made from the code: reference, model cards, studies, notebooks.

`docs/conf.py` calls `main` at the start of each build. What is written is not committed.
"""

import ast
import pathlib
import shutil

import flowzoo
from flowzoo.pretrained import show_pretrained
from flowzoo.pretrained.card import markdown
from flowzoo.reporting.plots import learning_curve
from flowzoo.reporting.records import read_records

DOCS = pathlib.Path(__file__).parent
PACKAGE = pathlib.Path(flowzoo.__file__).parent
# Programs define flags when they are imported, and are described in the guides.
PROGRAM = "from absl import"
ROOMS = {
    "": "What a user needs first.",
    "numerics": "Pure functions on arrays, each of them once.",
    "nets": "The networks inside conditioners.",
    "relative": "The gradient rules and the optax transformations.",
    "bases": "Distributions of the latents.",
    "transforms": "Invertible maps with log-determinants.",
    "zoo": "One recipe for each published model.",
    "configs": "The experiments: one file for each data set.",
    "data": "Datasets, splits and preprocessing.",
    "training": "From a config and a dataset to a trained flow in a workdir.",
    "reporting": "Published numbers, records, tables, plots and diagnostics.",
    "pretrained": "The registry, the loader and the cards.",
    "fitting": "From an array or a log-density to a trained flow.",
    "ica": "Metrics, generators and fits for independent component analysis.",
    "integrations": "Flows inside other libraries.",
    "studies": "Questions, each with a program, a table and a picture.",
}


def main() -> None:
    """Writes all generated pages, and only those that changed."""
    written = {*reference(), *models(), *studies(), *notebooks()}
    for folder in ("reference", "models", "notebooks"):
        for path in (DOCS / folder).glob("*"):
            if path not in written:
                path.unlink()


def reference() -> list[pathlib.Path]:
    """One page for each module, one for each room, and an index."""
    folder, pages, rooms = DOCS / "reference", [], {}
    for name in modules():
        text = f"# `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"
        pages.append(write(folder / f"{name}.md", text))
        parts = name.split(".")
        room = parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""
        rooms.setdefault(room, []).append(name)
    if unknown := set(rooms) - set(ROOMS):
        raise ValueError(f"ROOMS in docs/generate.py misses {', '.join(sorted(unknown))}.")
    for room in ROOMS:
        if room in rooms:
            title = f"flowzoo.{room}" if room else "flowzoo"
            text = f"# {title}\n\n{ROOMS[room]}\n\n{toctree(rooms[room])}"
            pages.append(write(folder / f"{room or 'top'}.md", text))
    text = (
        "# Reference\n\nThere is one page for each module. The public names are those that\n"
        "`flowzoo`, `flowzoo.transforms`, `flowzoo.bases` and `flowzoo.relative` export.\n\n"
    )
    text += toctree(room or "top" for room in ROOMS if room in rooms)
    return [*pages, write(folder / "index.md", text)]


def toctree(names) -> str:
    """The contents of a page."""
    return "```{toctree}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"


def modules() -> list[str]:
    """The modules that have a page: all but programs, benchmarks and empty packages."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        text = path.read_text(encoding="utf-8")
        if "benchmarks" in parts or PROGRAM in text or parts[-1].startswith("__main"):
            continue
        if path.name == "__init__.py" and "def " not in text and "class " not in text:
            continue
        names.append(".".join(parts).removesuffix(".__init__"))
    return names


def models() -> list[pathlib.Path]:
    """One page for each packaged model: its card, with its samples and its learning curve."""
    folder = DOCS / "models"
    folder.mkdir(exist_ok=True)
    pages, records = [], {run.name: run for run in read_records(DOCS.parent / "results")}
    for entry in flowzoo.list_pretrained():
        card = show_pretrained(entry.name)
        heading, rest = markdown(card).split("\n", 1)
        picture = DOCS / "images" / "models" / f"{entry.name}.png"
        shown = f"\n![Picture of the model](../images/models/{picture.name})\n"
        text = heading + "\n" + (shown if picture.exists() else "") + rest
        text += "\n## Learning curve\n\n"
        if curve := records[card["run"]["name"]].learning_curve:
            path = folder / f"{entry.name}_curve.png"
            rows = zip(*curve.values(), strict=True)
            learning_curve([dict(zip(curve, row, strict=True)) for row in rows], path)
            pages.append(path)
            text += f"![Log-likelihood against the epoch]({path.name})\n"
        else:
            text += "The record of this run does not have its curve.\n"
        pages.append(write(folder / f"{entry.name}.md", text))
    return pages


def studies() -> list[pathlib.Path]:
    """A table of the programs in `flowzoo.studies`, with the question that each of them asks."""
    rows = []
    for path in sorted((PACKAGE / "studies").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "STUDY = " in text:
            question = ast.get_docstring(ast.parse(text)).split("\n", 1)[0]
            rows.append(f"| `python -m flowzoo.studies.{path.stem}` | {question} |")
    text = "# The programs\n\n| program | what it asks |\n|---|---|\n" + "\n".join(rows) + "\n"
    return [write(DOCS / "studies" / "programs.md", text)]


def notebooks() -> list[pathlib.Path]:
    """The notebooks of `colabs/`, which the build executes."""
    folder = DOCS / "notebooks"
    folder.mkdir(exist_ok=True)
    pages = []
    for path in sorted((DOCS.parent / "colabs").glob("*.ipynb")):
        shutil.copyfile(path, folder / path.name)
        pages.append(folder / path.name)
    index = "# Notebooks\n\n" + toctree(path.stem for path in pages)
    return [*pages, write(folder / "index.md", index)]


def write(path: pathlib.Path, text: str) -> pathlib.Path:
    """Writes a page unless it is there already, so that Sphinx reads again what changed only."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path
