"""Datasets out of arrays of one's own."""

from collections.abc import Mapping, Sequence
import hashlib
import json
import math
import os
import pathlib
from typing import Any, NamedTuple
import warnings

import jax
import numpy as np

from flowzoo.data.dataset import Dataset, Split, check_finite
from flowzoo.transforms import (
    Affine,
    Arcsinh,
    Chain,
    Log,
    Logit,
    Reshape,
    Supports,
    Transform,
    Units,
)
from flowzoo.transforms.support.supports import outside

# How the name of such a dataset begins; the rest follows from all that it is made of.
PREFIX = "array-"
# Keeps the logit of pixels below 4.6, see `flowzoo.data.digits`.
PIXEL_ALPHA = 0.01
SUPPORTS = ("real", "positive")
# Further from the median than this many of the spreads that hold two thirds of the rows, values are
# squeezed; of a normal distribution none lies further than 7.
FAR = 30.0
# A gap between two groups of rows this many times as wide as the wider of them.
GAP = 20.0
# Rows that the spreads are estimated from.
SPREAD_ROWS = 100_000


class Recipe(NamedTuple):
    """All that an array's dataset is made of.

    Attributes:
      data: `[N, *event_shape]`: real numbers, or integers 0 … `levels` − 1.
      labels: `[N]` integers from 0, or None.
      levels: of integer data, None for real numbers.
      validation: the part of the rows, drawn at random, that is kept from training.
      seed: of that draw.
      support: `real`, or `positive` for positive numbers, whose logarithm is then taken; or a
        support for each coordinate, as `Supports` takes them.
    """

    data: np.ndarray
    labels: np.ndarray | None = None
    levels: int | None = None
    validation: float = 0.1
    seed: int = 0
    support: str | Sequence[str | Mapping[str, Any]] = "real"

    @property
    def options(self) -> dict[str, Any]:
        """What is not an array."""
        return {k: v for k, v in self._asdict().items() if k not in ("data", "labels")}

    @property
    def name(self) -> str:
        """`array-…`, of another dataset another name."""
        found = hashlib.sha256(json.dumps(self.options).encode())
        for array in (self.data, self.labels):
            if array is not None:
                found.update(f"{array.dtype} {array.shape}".encode())
                found.update(np.ascontiguousarray(array))
        return PREFIX + found.hexdigest()[:12]


def save_array(recipe: Recipe, folder: str | os.PathLike) -> None:
    """Writes what `load_array` reads: `<name>.npz`."""
    arrays = {"data": recipe.data} | ({} if recipe.labels is None else {"labels": recipe.labels})
    path = pathlib.Path(folder, f"{recipe.name}.npz")
    with path.with_suffix(".tmp").open("wb") as file:
        np.savez(file, options=np.array(json.dumps(recipe.options)), **arrays)
    path.with_suffix(".tmp").replace(path)


def load_array(name: str, folder: str | os.PathLike | None) -> Dataset:
    """The dataset that `fit(workdir=…)` left in its workdir.

    Raises:
      FileNotFoundError: if it is not there.
      ValueError: if it is damaged.
    """
    path = pathlib.Path(folder or ".", f"{name}.npz")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: the array that the flow was fitted to. Expected the folder that "
            "fit(workdir=…) wrote, when it ended."
        )
    try:
        with np.load(path) as saved:
            options = json.loads(str(saved["options"]))
            labels = saved["labels"] if "labels" in saved else None
            recipe = Recipe(saved["data"], labels, **options)
    except Exception as error:  # NumPy, zipfile and zlib have no common class of errors.
        raise ValueError(f"{path} cannot be read ({error}); it was damaged.") from None
    if recipe.name != name:
        raise ValueError(f"{path} is not the array that its name says; it was damaged or changed.")
    with warnings.catch_warnings(action="ignore"):  # They were given when it was fitted.
        return array_dataset(recipe)


def array_dataset(recipe: Recipe) -> Dataset:
    """Splits an array and brings it to where a flow can learn it.

    Levels stay as they are, to be dequantized. Real numbers are standardised in double precision;
    that map is the dataset's `units`.

    Raises:
      ValueError: if the data are not as `Recipe` says, hold NaN or infinity, or a feature does not
        vary.
    """
    data, labels, levels = recipe.data, recipe.labels, recipe.levels
    if data.ndim < 2 or len(data) < 2:
        raise ValueError(
            f"fit got data of shape {data.shape}, expected [N, *event_shape] with N at least 2; "
            "a single feature has shape [N, 1]."
        )
    if math.prod(data.shape[1:]) == 0:
        raise ValueError(f"fit got data of shape {data.shape}, expected at least one feature.")
    if not 0 < recipe.validation < 1:
        raise ValueError(
            f"fit got validation {recipe.validation}, expected a part of the data, in (0, 1)."
        )
    if labels is not None:
        _check_labels(labels, len(data))
    units = None
    if levels is None:
        x, units = _standardised(data, recipe.support)
        preprocessing: Transform = Affine(x.shape[1:])
    else:
        x, preprocessing = _levels(data, levels, recipe.support)
    order = np.random.default_rng(recipe.seed).permutation(len(data))
    cut = min(max(1, round(recipe.validation * len(data))), len(data) - 1)
    validation, train = (
        Split(x[rows], None if labels is None else labels[rows].astype(np.int32))
        for rows in (order[:cut], order[cut:])
    )
    shape, image_shape = data.shape[1:], None
    if levels is not None and len(shape) in (2, 3):
        image_shape = (*shape, 1) if len(shape) == 2 else shape
    return Dataset(
        name=recipe.name,
        train=train,
        validation=validation,
        test=validation,
        preprocessing=preprocessing,
        units=units,
        raw_dtype=data.dtype.name if levels is None else None,
        levels=levels,
        dequantize=levels is not None,
        num_classes=None if labels is None else int(labels.max()) + 1,
        image_shape=image_shape,
        bits_per_dim=levels is not None,
    )


def _check_labels(labels: np.ndarray, rows: int) -> None:
    if labels.shape != (rows,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"fit got labels of shape {labels.shape} and dtype {labels.dtype}, expected [{rows}] "
            "integers, one for each row of the data."
        )
    if labels.min() < 0:
        raise ValueError(
            f"fit got the label {labels.min()}, expected integers from 0 on: "
            "np.unique(labels, return_inverse=True)[1] numbers the classes."
        )


def _levels(data: np.ndarray, levels: int, support: str) -> tuple[np.ndarray, Transform]:
    """Levels in the dtype that `Dataset` takes, and the map from them to the flow's vectors."""
    if support != "real":
        raise ValueError(f"fit got support {support!r} and levels, expected one of the two.")
    if not np.issubdtype(data.dtype, np.integer) or data.min() < 0 or data.max() >= levels:
        raise ValueError(
            f"fit got data of dtype {data.dtype} between {data.min()} and {data.max()}, and "
            f"levels={levels}: expected integers 0 … {levels - 1}."
        )
    shape, vector = data.shape[1:], (math.prod(data.shape[1:]),)
    steps: list[Transform] = [] if shape == vector else [Reshape(shape, vector)]
    steps += [Affine(vector, scale=float(levels)), Logit(vector, alpha=PIXEL_ALPHA)]
    return data.astype(np.uint8 if levels <= 256 else np.int32), Chain(steps)


def _standardised(
    data: np.ndarray, support: str | Sequence[str | Mapping[str, Any]]
) -> tuple[np.ndarray, Transform]:
    """Real numbers as float32 vectors `[N, D]` of about unit scale, and the map to them."""
    if isinstance(support, str) and support not in SUPPORTS:
        raise ValueError(
            f"fit got support {support!r}, expected {' or '.join(SUPPORTS)}, or a list with the "
            "support of each coordinate, such as ['positive', 'unit', 'real']."
        )
    if not np.issubdtype(data.dtype, np.floating):
        raise ValueError(
            f"fit got data of dtype {data.dtype}: for levels, such as those of pixels, pass "
            "levels=256 or how many there are; otherwise convert the data to floating point."
        )
    check_finite(data, "The array")
    shape, vector = data.shape[1:], (math.prod(data.shape[1:]),)
    steps: list[Transform] = [] if shape == vector else [Reshape(shape, vector)]
    x = data.reshape(len(data), -1).astype(np.float64)
    # Up to rounding: a tenth is not the same number however it was computed.
    low, high = x.min(0), x.max(0)
    if np.any(constant := high - low <= 4 * np.spacing(np.maximum(np.abs(low), np.abs(high)))):
        place = ", ".join(map(str, np.argwhere(constant.reshape(shape))[0]))
        raise ValueError(
            f"The feature [{place}] (counting from 0) is the same in all rows, expected features "
            "that vary: a density needs them; leave it out."
        )
    if support == "positive":
        if x.min() <= 0:
            raise ValueError(
                f"fit got data with the value {x.min()} and support='positive', expected positive "
                "numbers."
            )
        steps.append(Log(vector))
        x = np.log(x)
    elif not isinstance(support, str):
        to_real = _to_real(support, x, shape)
        steps.append(to_real)
        with jax.enable_x64(True):
            x = np.asarray(jax.jit(lambda t, x: t.forward(x))(to_real, x))
    units, z, heavy = _units(x)
    steps.append(units)
    _warn_of_groups(x, shape)
    if heavy.any():
        _warn_of_tails(data.reshape(len(data), -1), heavy, shape)
        steps.append(Arcsinh(vector, where=heavy))
        z = np.where(heavy, np.arcsinh(z), z)
    return z.astype(np.float32), Chain(steps)


def _to_real(supports: Sequence, x: np.ndarray, shape: tuple[int, ...]) -> Supports:
    """The map of `x: [N, D]` to real numbers; angles are cut in the widest gap between rows."""
    records, start = [], 0
    for i, record in enumerate(supports):
        size = Supports([record]).event_shape[0]
        part = x[:, start : start + size]
        if record == "angle" and part.size:
            record = _cut(part[:, 0])
        if part.shape[1] == size and (expected := outside(record, part)) is not None:
            place = ", ".join(map(str, np.unravel_index(start, shape)))
            raise ValueError(
                f"fit got data between {part.min()} and {part.max()} from the feature [{place}] "
                f"(counting from 0) on, whose support {i} is {record!r}, expected {expected}."
            )
        records.append(record)
        start += size
    if start != x.shape[1]:
        raise ValueError(
            f"fit got supports of {start} coordinates and data of shape {(len(x), *shape)}, "
            "expected a support for each coordinate of an event."
        )
    return Supports(records)


def _cut(x: np.ndarray) -> dict[str, Any]:
    """The support of angles `x: [N]`, which come back in the turn in which they are given."""
    turn = 2 * math.pi
    ordered = np.sort(np.mod(x, turn))
    gaps = np.diff(ordered, append=ordered[0] + turn)
    widest = int(np.argmax(gaps))
    cut = float(np.mod(ordered[widest] + gaps[widest] / 2, turn))
    return {"name": "angle", "cut": cut, "low": 0.0 if x.min() >= 0 else -math.pi}


def _units(x: np.ndarray) -> tuple[Units, np.ndarray, np.ndarray]:
    """What standardises `x: [N, D]`, the result, and `[D]`: which coordinates have heavy tails.

    Those are brought to scale by quantiles, which a few rows cannot move.
    """
    with np.errstate(over="ignore"):
        mean, deviation = x.mean(0), x.std(0)
    low, median, high = np.percentile(x[:: -(-len(x) // SPREAD_ROWS)], [16, 50, 84], axis=0)
    spread = (high - low) / 2
    heavy = (np.abs(x - median).max(0) > FAR * spread) & (spread > 0)
    shift, scale = np.where(heavy, median, mean), np.where(heavy, spread, deviation)
    if not (np.abs(shift).max() < 1e38 and 1e-37 < scale.min() and scale.max() < 1e38):
        raise ValueError(
            f"fit got data of mean {shift[np.abs(shift).argmax()]:.3g} and spreads between "
            f"{scale.min():.3g} and {scale.max():.3g}, expected numbers within single precision, "
            "1e-37 to 1e38: give them in other units."
        )
    return Units(x.shape[1:], shift=shift, scale=scale), (x - shift) / scale, heavy


def _warn_of_tails(data: np.ndarray, heavy: np.ndarray, shape: tuple[int, ...]) -> None:
    column = int(np.argmax(heavy))
    values = data[:, column]
    row = int(np.argmax(np.abs(values - np.median(values))))
    others = f" (and {heavy.sum() - 1} more)" if heavy.sum() > 1 else ""
    place = ", ".join(map(str, np.unravel_index(column, shape)))
    advice = (
        "all data are positive: support='positive' takes their logarithm, which suits amounts and "
        "durations"
        if data.min() > 0
        else "if such a row is a mistake, remove it"
    )
    warnings.warn(
        f"The feature [{place}]{others} has values far outside the rest, such as "
        f"{values[row]:.3g} in row {row} (counting from 0) beside a median of "
        f"{np.median(values):.3g}; its tails are squeezed by asinh. Look at it: {advice}.",
        stacklevel=5,
    )


def _warn_of_groups(x: np.ndarray, shape: tuple[int, ...]) -> None:
    """Warns if rows share one value, or form groups far apart, in a column of `x: [N, D]`."""
    ordered = np.sort(x[:: -(-len(x) // SPREAD_ROWS)], axis=0)
    rows = len(ordered)
    if rows < 20:
        return
    first = rows // 50
    for column, values in enumerate(ordered.T):
        gaps = np.diff(values[first : rows - first])
        cut = first + int(np.argmax(gaps)) + 1
        width = max(_spread(values[:cut]), _spread(values[cut:]))
        if width == 0 or _spread(values) == 0:
            reason = (
                "most rows share a value; a density has no such points: add noise as wide as the "
                "values are rounded, or leave the feature out"
            )
        elif gaps.max() > GAP * width:
            reason = (
                f"the rows fall into groups, {gaps.max() / width:.0f} times as far apart as they "
                "are wide, between which a flow leaves some of its samples: fit each group by "
                "itself, or a model of mixtures, such as 'made_mog'"
            )
        else:
            continue
        place = ", ".join(map(str, np.unravel_index(column, shape)))
        warnings.warn(f"In the feature [{place}] (counting from 0) {reason}.", stacklevel=5)
        return


def _spread(values: np.ndarray) -> float:
    low, high = np.percentile(values, [16, 84])
    return (high - low) / 2
