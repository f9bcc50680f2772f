"""How Sphinx builds the site: `python docs/build.py`."""

import pathlib
import re
import sys
import tomllib

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

import generate  # noqa: E402

import flowzoo  # noqa: E402

project = "flowzoo"
author = "the flowzoo authors"
copyright = "the flowzoo authors, Apache-2.0"
version = release = flowzoo.__version__
with open(ROOT / "pyproject.toml", "rb") as file:
    REPOSITORY = tomllib.load(file)["project"]["urls"]["Repository"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    # Formulas are set by a MathJax that lies beside the pages, so that they need no network.
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_execution_cache_path = str(DOCS / "_build" / "notebook_cache")
nb_merge_streams = True
exclude_patterns = ["_build", "generated/notebooks/.ipynb_checkpoints"]

# Docstrings write code in single backticks, as Markdown does.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "flowzoo"
html_static_path = ["_static"]
html_css_files = ["flowzoo.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
    "top_of_page_buttons": ["edit"],
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
# Names of attributes are taken for references, and several classes have one of the same name.
suppress_warnings = ["ref.python"]


SECTION = re.compile(r"[A-Z]\w+:$")


def as_restructured_text(app, what, name, thing, options, lines: list[str]) -> None:
    """Docstrings are written to be read as they are; this says to Sphinx what a reader sees.

    An indented block after an empty line (formulas, tables) keeps its lines. Bars are bars, and a
    letter may follow code, as in `Dense`s.
    """
    # A list of arguments that share a description may go over two lines.
    for i in reversed(range(len(lines) - 1)):
        if re.fullmatch(r"  \w+(, \w+)*,", lines[i]):
            lines[i : i + 2] = [f"{lines[i]} {lines[i + 1].strip()}"]
    block = False
    for i, line in enumerate(lines):
        if SECTION.match(line):
            break
        before = lines[i - 1] if i else ""
        indented = line.startswith(" ")
        if indented and not before.strip() and not block:
            block = True
            if i > 1 and lines[i - 2].strip() and not lines[i - 2].endswith("::"):
                opening = lines[i - 2]
                lines[i - 2] = opening + (":" if opening.endswith(":") else " ::")
        elif line.strip() and not indented:
            block = False
    for i, line in enumerate(lines):
        parts = line.split("`")
        if len(parts) % 2 and not line.startswith("  ") and ">>>" not in line:
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            line = "`".join(parts)
        lines[i] = re.sub(r"(?<!`)(`[^`]+`)(?=\w)", r"\1\\ ", line)


def setup(app) -> None:
    app.connect("config-inited", lambda app, config: generate.main())
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", as_restructured_text, priority=100)
