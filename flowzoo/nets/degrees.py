"""Degrees of hidden units: which inputs a unit of a masked network may see.

Inputs are numbered 0 … D − 1. A unit of degree m in 0 … D − 1 sees the inputs before m, and output
i sees the units of degree at most i. Degrees are kept sorted: the order of units has no meaning.
"""

from collections.abc import Sequence
import itertools

from flax import nnx
import jax
import numpy as np


def masks(degrees: Sequence, dim: int) -> tuple[list, jax.Array | np.ndarray]:
    """What may be seen: for each hidden layer `[H, fan_in]`, and for the output `[D, H]`."""
    inputs = np.arange(dim)
    hidden = [degrees[0][:, None] > inputs]
    hidden += [after[:, None] >= before for before, after in itertools.pairwise(degrees)]
    return hidden, inputs[:, None] >= degrees[-1]


def choose_degrees(
    degrees: str | Sequence[Sequence[int]],
    dim: int,
    sizes: tuple[int, ...],
    *,
    conditional: bool,
    equal: bool,
    rngs: nnx.Rngs,
) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """Sorted degrees of each hidden layer, and a bound on the units of one degree.

    Args:
      degrees: `sequential` (as equally many units of each degree as possible), `random` (drawn
        without replacement from twice as many as there are units), or the degrees themselves.
      dim: D.
      sizes: units of each hidden layer.
      conditional: whether there is a context, which units of degree 0 see alone.
      equal: whether all layers must have the same degrees.
      rngs: draws random degrees.

    Raises:
      ValueError: if `degrees` is unknown or does not fit `sizes`, or would leave an output without
        an input that it should have.
    """
    # Input 0 reaches output 1 through units of degree 1 alone, and the context output 0 through 0.
    required = [0] * (conditional or dim == 1) + [1] * (dim > 1)
    if not isinstance(degrees, str):
        layers = [np.sort(np.asarray(layer, np.int32)) for layer in degrees]
        _check(layers, sizes, dim, required, equal)
        return layers, tuple(int(np.bincount(layer).max()) for layer in layers)
    if degrees not in ("sequential", "random"):
        raise ValueError(
            f"degrees is {degrees!r}, expected sequential, random, or a list of integers for each "
            "hidden layer."
        )
    if min(sizes) < len(required):
        raise ValueError(
            f"A hidden layer has {min(sizes)} unit, expected at least {len(required)}: one that "
            "sees the context alone and one that sees the first input."
        )
    num_degrees = dim - required[0]
    blocks = tuple(-(-size // num_degrees) for size in sizes)
    if degrees == "sequential":
        return [_sequential(size, dim, required) for size in sizes], blocks
    # Without replacement, so that the bound on one degree's units holds for any draw: programs
    # compiled for one draw then serve the degrees of any checkpoint.
    blocks = tuple(2 * block for block in blocks)
    layers = [
        _random(size, block, dim, required, rngs) for size, block in zip(sizes, blocks, strict=True)
    ]
    return [layers[0]] * len(layers) if equal else layers, blocks


def _sequential(size: int, dim: int, required: list[int]) -> np.ndarray:
    low = required[0]
    if size >= dim - low:
        return low + np.arange(size) * (dim - low) // size
    spread = np.linspace(required[-1], dim - 1, size - len(required) + 1)
    return np.concatenate([required[:-1], np.round(spread)]).astype(int)


def _random(size: int, block: int, dim: int, required: list[int], rngs: nnx.Rngs) -> np.ndarray:
    counts = np.full(dim, block)
    counts[: required[0]] = 0
    counts[required] -= 1
    pool = np.repeat(np.arange(dim), counts)
    drawn = jax.random.choice(rngs.params(), pool, (size - len(required),), replace=False)
    return np.sort(np.concatenate([required, drawn])).astype(int)


def _check(
    layers: list[np.ndarray],
    sizes: tuple[int, ...],
    dim: int,
    required: list[int],
    equal: bool,
) -> None:
    if tuple(layer.shape for layer in layers) != tuple((size,) for size in sizes):
        raise ValueError(
            f"degrees has shapes {[layer.shape for layer in layers]}, expected one list for each "
            f"of the hidden layers of sizes {sizes}."
        )
    if equal and any(np.any(layer != layers[0]) for layer in layers):
        raise ValueError("A residual network got degrees that differ between its layers.")
    for i, layer in enumerate(layers):
        if layer.min() < 0 or layer.max() >= dim:
            raise ValueError(
                f"The degrees of hidden layer {i} lie in {layer.min()} … {layer.max()}, expected "
                f"0 … {dim - 1}."
            )
        for degree in required:
            if degree not in layer:
                raise ValueError(
                    f"The degrees of hidden layer {i} leave output {degree} without "
                    f"{'input 0' if degree else 'the context'}; give a unit the degree {degree}."
                )
