"""Lists the programs of the package: `python -m flowzoo`; `--version` prints the version."""

import ast
from collections.abc import Iterator
import pathlib
import sys

from flowzoo import __version__

ROOT = pathlib.Path(__file__).parent


def programs() -> Iterator[tuple[str, str]]:
    """The modules that can be run, each with the first line of its docstring."""
    for path in sorted(ROOT.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        text = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":' not in text or path == pathlib.Path(__file__):
            continue
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        summary = (ast.get_docstring(ast.parse(text)) or "").split("\n", 1)[0]
        # An example in the line is left to --help.
        yield ".".join(parts).removesuffix(".__main__"), summary.split(": `", 1)[0].rstrip(".:")


def main(argv: list[str]) -> None:
    """Prints the programs, or with `--version` the version."""
    if argv == ["--version"]:
        print(f"flowzoo {__version__}")
        return
    if argv and argv != ["--help"]:
        print(f"Error: {argv[0]!r} is not an option of python -m flowzoo.", file=sys.stderr)
        sys.exit(1)
    found = list(programs())
    width = max(len(name) for name, _ in found)
    print("Programs of flowzoo; each has --help:\n")
    for name, summary in found:
        print(f"  python -m {name:{width}}  {summary}")


if __name__ == "__main__":
    main(sys.argv[1:])
