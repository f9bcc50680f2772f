"""Rows of numbers on disk, for data of which no second copy should fill the memory."""

from collections.abc import Callable, Iterator, Sequence
import gzip
import io
import itertools
import os
import pathlib
import tempfile
import zipfile
import zlib

import numpy as np
from tqdm import tqdm

BLOCK = 2048


class Rows:
    """Float64 rows `[N, C]` in a temporary file that vanishes with the object."""

    def __init__(self, num_columns: int):
        self.num_columns = num_columns
        self._file = tempfile.TemporaryFile()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, block: np.ndarray) -> None:
        """Adds `[n, C]` at the end."""
        self._file.seek(0, io.SEEK_END)
        self._file.write(np.ascontiguousarray(block, np.float64))
        self._length += len(block)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """Yields the rows `start … stop − 1` in blocks `[n, C]`."""
        width = 8 * self.num_columns
        for begin, end in ranges(start, len(self) if stop is None else stop):
            self._file.seek(begin * width)
            content = self._file.read((end - begin) * width)
            yield np.frombuffer(content, np.float64).reshape(-1, self.num_columns)

    def take(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the rows whose numbers are `order: [n]`, in that order, in blocks."""
        self._file.flush()
        yield from take_rows(self._file, 0, np.dtype(np.float64), self.num_columns, order)


def take_rows(
    file: io.BufferedIOBase, offset: int, dtype: np.dtype, num_columns: int, order: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields rows of a file in any order; of a mapped file all of them would fill the memory.

    Args:
      file: with rows of `num_columns` numbers of type `dtype`, one after the other.
      offset: where the first one begins.
      order: `[n]`, numbers of rows.
    """
    width = dtype.itemsize * num_columns
    for begin, end in ranges(0, len(order)):
        places = offset + width * order[begin:end].astype(np.int64)
        content = b"".join([os.pread(file.fileno(), width, place) for place in places.tolist()])
        yield np.frombuffer(content, dtype).reshape(-1, num_columns).astype(np.float64)


def ranges(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cuts `start … stop − 1` into pairs (begin, end) of at most `BLOCK` rows."""
    for begin in range(start, stop, BLOCK):
        yield begin, min(begin + BLOCK, stop)


def moments(rows: Rows, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean `[C]` and scatter matrix `Σ (x − μ)(x − μ)ᵀ: [C, C]` of the rows `start … stop − 1`."""
    mean = sum(block.sum(axis=0) for block in rows.blocks(start, stop)) / (stop - start)
    centered = (block - mean for block in rows.blocks(start, stop))
    return mean, sum(block.T @ block for block in centered)


def text_blocks(
    path: pathlib.Path,
    *,
    skip: int,
    keep: Callable[[int, str], bool] = lambda i, line: True,
    limit: int | None = None,
    **options,
) -> Iterator[np.ndarray]:
    """Yields the numbers of a text file, packed by gzip or zip or not, in blocks `[n, C]`.

    Args:
      path: the file; of a zip file, its only `.txt` is read.
      skip: lines at the head that are not data.
      keep: of the line number (0 is the first after the head) and the line: whether to read it.
      limit: number of lines after the head to read, all by default.
      **options: for `numpy.loadtxt`, which parses.

    Raises:
      ValueError: if the file is damaged or holds something that is not a number.
    """
    done = 0
    try:
        with open_text(path) as file, tqdm(desc=path.name, unit=" lines", disable=None) as bar:
            lines = itertools.islice(file, skip, None if limit is None else skip + limit)
            kept = (line for i, line in enumerate(lines) if keep(i, line))
            while chunk := list(itertools.islice(kept, BLOCK)):
                yield np.loadtxt(chunk, ndmin=2, **options)
                done += len(chunk)
                bar.update(len(chunk))
    except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}): fetch it again.") from error
    except ValueError as error:
        raise ValueError(f"{path} cannot be read after {done} rows: {error}.") from error


def open_text(path: pathlib.Path) -> io.TextIOBase:
    """Opens a text file, the only `.txt` of a zip file, or a gzipped one."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt")
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(path)
        names = [name for name in archive.namelist() if name.endswith(".txt")]
        if len(names) != 1:
            raise ValueError(f"it holds {len(names)} .txt files, expected one")
        return io.TextIOWrapper(archive.open(names[0]))
    return open(path)


class NpyRows:
    """The rows `[N, C]` of a `.npy` file, which stay on disk.

    Raises:
      ValueError: if the file has another number of columns, or fewer bytes than its header says.
    """

    def __init__(self, path: pathlib.Path, num_columns: int):
        (self._length, self.num_columns), self._dtype, self._offset = _npy_header(path, num_columns)
        self._file = open(path, "rb")

    def __len__(self) -> int:
        return self._length

    def take(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the rows whose numbers are `order: [n]`, in that order, in blocks."""
        yield from take_rows(self._file, self._offset, self._dtype, self.num_columns, order)


def _npy_header(path: pathlib.Path, num_columns: int) -> tuple[tuple[int, int], np.dtype, int]:
    """Shape, type and place of the first number of a `.npy` file."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }
            shape, by_columns, dtype = read_header[version](file)
            offset = file.tell()
        expected = offset + int(np.prod(shape)) * dtype.itemsize
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a .npy file ({error}).") from None
    found = path.stat().st_size
    if found != expected:
        raise ValueError(
            f"{path} has {found} bytes, expected {expected} for its shape {shape}: fetch it again."
        )
    if len(shape) != 2 or shape[1] != num_columns or by_columns:
        raise ValueError(
            f"{path} has shape {shape}, expected [N, {num_columns}]: it is not the file that the "
            "paper used."
        )
    return shape, dtype, offset


def standardized(
    rows: Rows,
    columns: Sequence[int],
    bounds: dict[str, tuple[int, int]],
    fit: tuple[int, int],
    *,
    ddof: int,
) -> dict[str, Iterator[np.ndarray]]:
    """`(x − μ)/σ` in float32, with μ and σ of the rows `fit`, in the order of `bounds`.

    Args:
      rows: `[N, C]`.
      columns: which of the C columns to keep.
      bounds: `{split: (start, stop)}`.
      fit: (start, stop) of the rows that μ and σ are taken from.
      ddof: σ² divides by the number of rows minus this.
    """
    mean, scatter = moments(rows, *fit)
    std = np.sqrt(np.diag(scatter) / (fit[1] - fit[0] - ddof))

    def blocks(start: int, stop: int) -> Iterator[np.ndarray]:
        for block in rows.blocks(start, stop):
            yield ((block - mean) / std)[:, columns].astype(np.float32)

    return {split: blocks(*bound) for split, bound in bounds.items()}
