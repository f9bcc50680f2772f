"""Names that a user typed, and those that there are."""

from collections.abc import Iterable
import difflib


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A sentence that begins with a space and proposes the nearest known names, or nothing."""
    near = difflib.get_close_matches(str(name), list(known))
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Says that there is no such name, which one is near, and which there are."""
    known = list(known)
    return f"Unknown {kind} {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}."
