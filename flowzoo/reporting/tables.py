"""Tables in Markdown."""

from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; `None` is an empty cell, and a bar inside a cell stays one."""

    def text(cell: object) -> str:
        return "" if cell is None else str(cell).replace("|", "&#124;")

    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(text, line))} |" for line in lines)


def save(folder: Path, name: str, records: Sequence[dict[str, Any]], table: str) -> None:
    """Writes what was measured as `NAME.json`, and the table of it as `NAME.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(records, indent=1) + "\n")
    (folder / f"{name}.md").write_text(table + "\n")


def plus_minus(value: float, two_standard_errors: float) -> str:
    """`−12.34 ± 0.05`, with as many decimals as the error has two digits for."""
    digits = 3 if two_standard_errors < 0.095 else 2 if two_standard_errors < 9.5 else 1
    return f"{value:.{digits}f} ± {two_standard_errors:.{digits}f}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min` or `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
