"""The files from which the tabular suite is prepared, and where they are looked for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import pathlib

import numpy as np

from flowzoo.data import archive, published_steps
from flowzoo.data.patches import read_patches
from flowzoo.data.rows import ranges

Splits = Mapping[str, Iterable[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Source:
    """One form in which a dataset is distributed.

    Attributes:
      title: in words.
      files: for each file that is needed, the names under which it may be found; a name may be that
        of a folder. Those of the MAF authors' archive begin with a folder.
      read: makes `{split: blocks}`, float32 `[n, D]`, from the paths of the files and the published
        sizes `{split: rows}`.
    """

    title: str
    files: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[pathlib.Path], Mapping[str, int]], Splits]


def read_hdf5(paths: Sequence[pathlib.Path], sizes: Mapping[str, int]) -> Splits:
    """The archive's `BSDS300.hdf5`, whose arrays train, validation and test are prepared.

    Raises:
      ValueError: if h5py is not installed, or the file is damaged.
    """
    try:
        import h5py
    except ImportError:
        raise ValueError(
            "The MAF authors' BSDS300.hdf5 needs h5py: `pip install h5py`, or prepare BSDS300 from "
            "the 300 images, `--from=BSDS300-images.tgz`."
        ) from None
    try:
        file = h5py.File(paths[0])
        arrays = {split: file[split] for split in sizes}
    except (OSError, KeyError) as error:
        raise ValueError(f"{paths[0]} is damaged or not BSDS300.hdf5: {error}.") from None

    def blocks(array) -> Iterator[np.ndarray]:
        for begin, end in ranges(0, len(array)):
            yield array[begin:end].astype(np.float32)

    return {split: blocks(array) for split, array in arrays.items()}


def _images(paths: Sequence[pathlib.Path], sizes: Mapping[str, int]) -> Splits:
    return read_patches(paths[0], sizes)


PATCHES = "patches of the 300 images, seed 0"
_MAF = "the MAF authors' archive"
SOURCES: dict[str, tuple[Source, ...]] = {
    "power": (
        Source(_MAF, (("power/data.npy",),), published_steps.power),
        Source(
            "UCI's text file",
            (("household_power_consumption.txt", "household_power_consumption.zip"),),
            published_steps.power,
        ),
    ),
    "gas": (
        Source(_MAF, (("gas/ethylene_CO.pickle",),), published_steps.gas),
        Source(
            "a quarter of UCI's text file, seed 0", (("ethylene_CO.txt",),), published_steps.gas
        ),
    ),
    "hepmass": (
        Source(
            _MAF, (("hepmass/1000_train.csv",), ("hepmass/1000_test.csv",)), published_steps.hepmass
        ),
        Source(
            "UCI's files",
            (("1000_train.csv.gz", "1000_train.csv"), ("1000_test.csv.gz", "1000_test.csv")),
            published_steps.hepmass,
        ),
    ),
    "miniboone": (
        Source(_MAF, (("miniboone/data.npy",),), published_steps.miniboone),
        Source("UCI's text file", (("MiniBooNE_PID.txt",),), published_steps.miniboone),
    ),
    "bsds300": (
        Source(_MAF, (("BSDS300/BSDS300.hdf5",),), read_hdf5),
        Source(
            PATCHES,
            (("BSDS300-images.tgz", "BSDS300/images"),),
            _images,
        ),
    ),
}


def find_source(
    name: str, folders: Sequence[pathlib.Path]
) -> tuple[Source, list[pathlib.Path]] | None:
    """Returns the first source whose files all lie in one place, and their paths.

    Places are each folder itself, its subfolders `NAME`, `data` (of the archive) and TFDS's
    `downloads/manual`.
    """
    for source in SOURCES[name]:
        for folder in folders:
            for place in ("", name, "data", "downloads/manual"):
                paths = [_first(folder / place, names) for names in source.files]
                if None not in paths:
                    return source, paths
    return None


def _first(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def source_of(name: str, path: pathlib.Path) -> tuple[Source, list[pathlib.Path]] | None:
    """The source that a folder or one of a source's files belongs to, None if to none.

    Raises:
      FileNotFoundError: if there is no such path.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.is_dir():
        # The folder of the dataset inside the archive, or that of the images, may be named too.
        return find_source(name, [path, path.parent, path.parent.parent])
    for source in SOURCES[name]:
        last_names = [[pathlib.PurePath(n).name for n in names] for names in source.files]
        if path.name in (n for names in last_names for n in names):
            paths = [_first(path.parent, names) for names in last_names]
            if len(paths) == 1:
                return source, [path]
            if None not in paths:
                return source, paths
    return None


@contextlib.contextmanager
def from_archive(name: str, path: pathlib.Path) -> Iterator[tuple[Source, list[pathlib.Path]]]:
    """The source of a dataset in the MAF authors' archive, unpacked as long as it is needed."""
    source = SOURCES[name][0]
    with archive.unpacked(path, [names[0] for names in source.files]) as paths:
        yield source, paths


def describe_sources(name: str) -> str:
    """The names of the files of which one set is needed, in words."""
    return ", or ".join(
        " and ".join(" or ".join(names) for names in source.files) for source in SOURCES[name]
    )
