"""What recipes check of their options."""

from collections.abc import Iterable, Mapping
import math
import numbers
from typing import Any

from flowzoo.numerics.names import did_you_mean


def vector_size(recipe: str, event_shape: tuple[int, ...], at_least: int = 1) -> int:
    """D of an event of shape `(D,)`.

    Raises:
      ValueError: if the event is not a vector, or has fewer than `at_least` coordinates.
    """
    if len(event_shape) != 1 or event_shape[0] < at_least:
        expected = "(D,)" if at_least == 1 else f"(D,) with D >= {at_least}"
        raise ValueError(f"{recipe} got event_shape {event_shape}, expected {expected}.")
    return event_shape[0]


def image_of(
    recipe: str, event_shape: tuple[int, ...], image_shape: Iterable[int]
) -> tuple[int, ...]:
    """`(H, W, C)` of an event of shape `(H W C,)`.

    Raises:
      ValueError: if the shapes do not fit each other.
    """
    image_shape = tuple(image_shape)
    if len(image_shape) != 3 or event_shape != (math.prod(image_shape),):
        raise ValueError(
            f"{recipe} got event_shape {event_shape} and image_shape {image_shape}, expected (D,) "
            "and (H, W, C) with H W C = D."
        )
    return image_shape


def check_layers(recipe: str, num_layers: int) -> None:
    """Raises ValueError unless there is at least one layer."""
    if num_layers < 1:
        raise ValueError(f"{recipe} got num_layers {num_layers}, expected at least 1.")


def check_choice(recipe: str, option: str, value: object, choices: Iterable[str]) -> None:
    """Raises ValueError unless the value is one of the choices."""
    if value not in (known := list(choices)):
        raise ValueError(
            f"{recipe} got {option} {value!r}, expected one of {', '.join(known)}."
            + did_you_mean(value, known)
        )


def check_types(owner: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises ValueError if an option has another type than its default; None takes any."""
    for key, value in given.items():
        expected, found = _kind(defaults[key]), _kind(value)
        if expected and found != expected and (expected, found) != ("a number", "a whole number"):
            raise ValueError(
                f"{owner} got {key} {value!r}, expected {expected} such as {defaults[key]!r}."
            )
        if expected == "a sequence" and defaults[key]:
            each = {f"{key}[{i}]": element for i, element in enumerate(value)}
            check_types(owner, each, dict.fromkeys(each, defaults[key][0]))


def _kind(value: object) -> str | None:
    kinds = {
        "True or False": bool,
        "a whole number": numbers.Integral,
        "a number": numbers.Real,
        "a name": str,
        "a sequence": (list, tuple),
    }
    return next((kind for kind, types in kinds.items() if isinstance(value, types)), None)
