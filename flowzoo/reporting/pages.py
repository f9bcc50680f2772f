"""The parts of pages that are made of `results/`."""

from collections.abc import Callable, Sequence
import pathlib

from flowzoo.reporting.records import Record, read_records
from flowzoo.reporting.report_tables import readme_table, tables, to_markdown

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FOLDER = "results"


def _results_page(records: Sequence[Record]) -> str:
    return to_markdown(tables(records)).strip()


PAGES: dict[str, Callable[[Sequence[Record]], str]] = {
    "docs/results.md": _results_page,
    "README.md": readme_table,
}


def made(root: pathlib.Path) -> dict[pathlib.Path, str]:
    """Each page as it should be, by its path: what lies between the two marks comes from records.

    Args:
      root: the checkout, with `results/` in it.

    Raises:
      FileNotFoundError: if there are no records, or a page is missing.
      ValueError: if a record is damaged, or a page lacks the marks.
    """
    records = read_records(root / FOLDER)
    if not records:
        raise FileNotFoundError(
            f"There are no records in {root / FOLDER}: run this in a checkout of flowzoo."
        )
    texts = {}
    for name, make in PAGES.items():
        path = root / name
        before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"{path} has no part between {BEGIN} and {END}; put the marks back.")
        texts[path] = f"{before}{BEGIN}\n{make(records)}\n{END}{after}"
    return texts


def write(root: pathlib.Path) -> list[pathlib.Path]:
    """Writes the pages; returns those that changed."""
    changed = [(path, text) for path, text in made(root).items() if path.read_text("utf-8") != text]
    for path, text in changed:
        path.write_text(text, encoding="utf-8")
    return [path for path, _ in changed]
