"""The MAF paper's preprocessing of POWER, GAS, HEPMASS and MINIBOONE, step for step.

Each function takes the paths of a source's files and the published sizes, and returns
`{split: blocks}`, float32 `[n, D]`. From the authors' archive (doi 10.5281/zenodo.1161203) come
the published rows. Where its files were made from UCI's by steps that are not published, such as a
random draw, the function says what is done instead.

None of these files could be fetched where this was written: formats and steps are those that the
paper and the authors' published code describe, tested on small files of the same format, and the
numbers of rows and columns are compared with the published ones.

Source: Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation",
arXiv 1705.07057, appendix D.
"""

from collections.abc import Iterator, Mapping, Sequence
import pathlib

import numpy as np

from flowzoo.data.pandas_pickle import read_frame
from flowzoo.data.rows import NpyRows, Rows, moments, open_text, ranges, standardized, text_blocks

Splits = Mapping[str, Iterator[np.ndarray]]


def tenths(n: int) -> dict[str, tuple[int, int]]:
    """Bounds of the splits of n rows: a tenth tests, a tenth of the rest validates."""
    num_test = int(0.1 * n)
    num_validation = int(0.1 * (n - num_test))
    cut = n - num_test - num_validation
    return {"train": (0, cut), "validation": (cut, n - num_test), "test": (n - num_test, n)}


def power(paths: Sequence[pathlib.Path], sizes: Mapping[str, int]) -> Splits:
    """POWER: global active power, voltage, three sub-meters, and the time of day, 6 columns.

    Rows are shuffled with seed 42. Noise `U[0, ε)` breaks ties: ε = 0.001 for the power, 0.01 for
    the voltage, 1 for the sub-meters. Global reactive power and intensity are dropped. Train and
    validation rows give mean and standard deviation.

    From the archive (`data.npy`) the result is the published one. The archive's time column has its
    own noise already; from UCI's text file it is the minute of the day plus `U[0, 1)` of our own
    seed, and rows with missing values are dropped.
    """
    (path,) = paths
    data = NpyRows(path, 8) if path.suffix == ".npy" else _household(path)
    n = len(data)
    rng = np.random.RandomState(42)
    order = np.arange(n, dtype=np.int32)
    rng.shuffle(order)
    # The noise was drawn column by column: one stream for each, begun where the last one ends.
    voltage_rng, power_rng, meter_rng = (_skipped(rng, draws) for draws in (0, n, 2 * n))
    rows = Rows(6)
    for block in data.take(order):
        block, size = block[:, [0, 2, 4, 5, 6, 7]], len(block)
        block[:, 0] += 0.001 * power_rng.random_sample(size)
        block[:, 1] += 0.01 * voltage_rng.random_sample(size)
        block[:, 2:5] += meter_rng.random_sample((size, 3))
        rows.append(block)
    bounds = tenths(n)
    return standardized(rows, range(6), bounds, (0, bounds["test"][0]), ddof=0)


def _skipped(rng: np.random.RandomState, draws: int) -> np.random.RandomState:
    """A copy of `rng` that has drawn that many numbers."""
    copy = np.random.RandomState()
    copy.set_state(rng.get_state())
    for begin, end in ranges(0, draws):
        copy.random_sample(end - begin)
    return copy


def _household(path: pathlib.Path) -> Rows:
    """UCI's `household_power_consumption.txt` as the archive's 8 columns, the time last."""

    def minutes(time: str) -> float:
        hours, minutes, _ = time.split(":")
        return 60 * int(hours) + int(minutes)

    rng = np.random.RandomState(0)
    rows = Rows(8)
    for block in text_blocks(
        path,
        skip=1,
        keep=lambda i, line: "?" not in line,
        delimiter=";",
        usecols=(2, 3, 4, 5, 6, 7, 8, 1),
        converters={1: minutes},
        encoding=None,
    ):
        block[:, 7] += rng.random_sample(len(block))
        rows.append(block)
    return rows


def gas(paths: Sequence[pathlib.Path], sizes: Mapping[str, int]) -> Splits:
    """GAS: 8 of 16 gas sensors.

    While two sensors correlate by more than 0.98, the first one that does so is dropped. All rows
    give mean and standard deviation (divided by N − 1).

    The archive's pickle is a random quarter of UCI's `ethylene_CO.txt`, drawn with a seed that is
    not known. From that file another quarter is drawn, with seed 0.
    """
    (path,) = paths
    rows = _sensors(path) if path.suffix == ".txt" else _frame(path)
    _, scatter = moments(rows, 0, len(rows))
    std = np.sqrt(np.diag(scatter))
    correlated = scatter / np.outer(std, std) > 0.98
    columns = list(range(rows.num_columns))
    while (several := correlated[np.ix_(columns, columns)].sum(axis=1) > 1).any():
        del columns[int(several.argmax())]
    return standardized(rows, columns, tenths(len(rows)), (0, len(rows)), ddof=1)


def _frame(path: pathlib.Path) -> Rows:
    """The sensors of the archive's `ethylene_CO.pickle`."""
    frame = read_frame(path)
    missing = {"Time", "Meth", "Eth"} - frame.keys()
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(sorted(missing))}, expected those of GAS."
        )
    sensors = [values for name, values in frame.items() if name not in ("Time", "Meth", "Eth")]
    rows = Rows(len(sensors))
    for begin, end in ranges(0, len(sensors[0])):
        rows.append(np.stack([values[begin:end] for values in sensors], axis=1))
    return rows


def _sensors(path: pathlib.Path) -> Rows:
    """A random quarter of the sensors in UCI's `ethylene_CO.txt`, in random order."""
    with open_text(path) as file:
        n = sum(1 for _ in file) - 1
    order = np.arange(n, dtype=np.int32)
    np.random.RandomState(0).shuffle(order)
    order = order[: round(n / 4)].copy()
    kept = np.zeros(n, bool)
    kept[order] = True
    found = Rows(16)
    for block in text_blocks(path, skip=1, keep=lambda i, line: kept[i], usecols=range(3, 19)):
        found.append(block)
    # Of those kept, in the order of the file, the one that comes first, second … in random order.
    place = np.cumsum(kept, dtype=np.int32)[order] - 1
    rows = Rows(16)
    for block in found.take(place):
        rows.append(block)
    return rows


def hepmass(paths: Sequence[pathlib.Path], sizes: Mapping[str, int]) -> Splits:
    """HEPMASS: 21 features of the signal events of mass 1000.

    Of 27 features those are dropped whose smallest value occurs more than five times among the
    training and validation events; these give mean and standard deviation (divided by N − 1). A
    tenth of them, the last, validates.

    The archive's files are the first tenth of UCI's: of those, as many events are read as
    published.
    """
    train_path, test_path = paths
    rows = Rows(27)
    for block in _signal(train_path, sizes["train"] + sizes["validation"]):
        rows.append(block)
    num_seen = len(rows)
    columns = _continuous(rows, num_seen)
    for block in _signal(test_path, sizes["test"]):
        rows.append(block)
    cut = num_seen - int(0.1 * num_seen)
    bounds = {"train": (0, cut), "validation": (cut, num_seen), "test": (num_seen, len(rows))}
    return standardized(rows, columns, bounds, (0, num_seen), ddof=1)


def _signal(path: pathlib.Path, size: int) -> Iterator[np.ndarray]:
    """The 27 features of the first `size` events with label 1."""
    # Some test files have the mass as one more column.
    for block in text_blocks(path, skip=1, delimiter=",", usecols=range(28)):
        events = block[block[:, 0] == 1, 1:][:size]
        size -= len(events)
        yield events
        if size == 0:
            return


def miniboone(paths: Sequence[pathlib.Path], sizes: Mapping[str, int]) -> Splits:
    """MINIBOONE: 43 features of electron neutrinos.

    Of UCI's text file the signal events are read, those with a first feature below −100 are
    dropped, and of 50 features those whose smallest value occurs more than five times. The
    archive's `data.npy` is what remains. Train and validation rows give mean and standard
    deviation.
    """
    (path,) = paths
    rows = Rows(43 if path.suffix == ".npy" else 50)
    if path.suffix == ".npy":
        data = NpyRows(path, 43)
        for block in data.take(np.arange(len(data))):
            rows.append(block)
        columns = range(43)
    else:
        with open_text(path) as file:
            counts = file.readline().split()
        if len(counts) != 2 or not counts[0].isdigit():
            raise ValueError(
                f"{path} begins with {' '.join(counts)[:40]!r}, expected the numbers of signal and "
                "background events."
            )
        for block in text_blocks(path, skip=1, limit=int(counts[0])):
            rows.append(block[block[:, 0] >= -100])
        columns = _continuous(rows, len(rows))
    bounds = tenths(len(rows))
    return standardized(rows, columns, bounds, (0, bounds["test"][0]), ddof=0)


def _continuous(rows: Rows, stop: int) -> list[int]:
    """The columns whose smallest value occurs at most five times in the first `stop` rows."""
    smallest = np.min([block.min(axis=0) for block in rows.blocks(0, stop)], axis=0)
    count = sum((block == smallest).sum(axis=0) for block in rows.blocks(0, stop))
    return list(np.flatnonzero(count <= 5))
