"""Shapes: batch axes first, then the event; each check exists once."""

from collections.abc import Iterable, Sequence
import operator

import jax
import jax.numpy as jnp


def sum_event(a: jax.Array, event_ndim: int) -> jax.Array:
    """Sums the last `event_ndim` axes: `[..., *event_shape] -> [...]`."""
    return a.sum(tuple(range(-event_ndim, 0))) if event_ndim else a


def batch_shape(a: jax.Array, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of `a: [..., *event_shape]` before the event's."""
    return a.shape[: a.ndim - len(event_shape)]


def check_event(name: str, x: jax.Array, event_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless the last axes of `x` are `event_shape`."""
    shape = jnp.shape(x)
    if shape[len(shape) - len(event_shape) :] != event_shape or len(shape) < len(event_shape):
        raise ValueError(
            f"{name} got an array of shape {shape}, expected [..., *{event_shape}]: "
            "any batch axes first, then exactly these."
        )


def as_shape(sample_shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple; a number alone is the shape of one axis.

    Raises:
      ValueError: if it holds anything but numbers from 0 on.
    """
    try:
        given = sample_shape if isinstance(sample_shape, Iterable) else (sample_shape,)
        shape = tuple(operator.index(size) for size in given)
    except TypeError:
        shape = (-1,)
    if any(size < 0 for size in shape):
        raise ValueError(
            f"sample got sample_shape {sample_shape!r}, expected a number of samples or a shape, "
            "such as (5,)."
        )
    return shape


def check_context(name: str, context: jax.Array | None, context_size: int) -> None:
    """Raises ValueError unless `context: [..., context_size]`."""
    shape = None if context is None else jnp.shape(context)
    if not shape or shape[-1] != context_size:
        given = "no context" if shape is None else f"a context of shape {shape}"
        raise ValueError(
            f"{name} with context_size {context_size} got {given}, expected [..., {context_size}]."
        )


def image_shape(name: str, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    """`event_shape` as a tuple; raises ValueError unless it is `(H, W, C)`."""
    if len(event_shape) != 3:
        raise ValueError(f"{name} got event_shape {event_shape}, expected (H, W, C).")
    return tuple(event_shape)
