"""Builds the site: `python docs/build.py [--notebooks=run|show] [FOLDER]`, with the extra `docs`.

A warning ends it. `run`, the default, executes the notebooks, which takes five minutes; results are
kept in `docs/_build`, so that the next build is quick. `show` leaves the outputs out: the tests
execute the notebooks already, with less work.
"""

import argparse
import pathlib
import sys

from sphinx.cmd.build import main as sphinx

DOCS = pathlib.Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", nargs="?", default=str(DOCS / "_build" / "html"))
    parser.add_argument("--notebooks", choices=["run", "show"], default="run")
    arguments = parser.parse_args()
    mode = {"run": "cache", "show": "off"}[arguments.notebooks]
    options = ["-q", "-b", "html", "--fail-on-warning"]
    return sphinx([*options, "-D", f"nb_execution_mode={mode}", str(DOCS), arguments.folder])


if __name__ == "__main__":
    sys.exit(main())
