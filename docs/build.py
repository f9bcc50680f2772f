"""Builds the reference documentation from the docstrings: `python docs/build.py [FOLDER]`.

Needs the extra `docs`. A warning, such as one of a docstring that cannot be read, ends it.
"""

import pathlib
import sys
import warnings

import pdoc

import flowzoo

ROOT = pathlib.Path(flowzoo.__file__).parent


def main(folder: str = "docs/_build") -> None:
    """Writes one page of HTML for each module."""
    pdoc.render.configure(docformat="google", show_source=False)
    for name in flowzoo.__all__:
        # Names that are imported when first used are no attributes yet, which pdoc looks for.
        setattr(flowzoo, name, getattr(flowzoo, name))
    warnings.simplefilter("error", UserWarning)
    # Packages without `__all__` bring their modules along.
    warnings.filterwarnings("ignore", "The module specification .* already been added")
    # A recursive type of optax's.
    warnings.filterwarnings("ignore", "Error parsing type annotation .*ArrayTree")
    pdoc.pdoc(*modules(), output_directory=pathlib.Path(folder))


def modules() -> list[str]:
    """All modules but command lines, which define flags when imported, and benchmarks."""
    names = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        if "benchmarks" in parts or "from absl import" in path.read_text(encoding="utf-8"):
            continue
        names.append(".".join(parts).removesuffix(".__init__"))
    return names


if __name__ == "__main__":
    main(*sys.argv[1:])
