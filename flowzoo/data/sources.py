"""The files from which the tabular suite is prepared, and where they are looked for."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import dataclasses
import pathlib

import numpy as np

from flowzoo.data.patches import read_patches

Splits = Mapping[str, Iterable[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Source:
    """One form in which a dataset is distributed.

    Attributes:
      title: in words.
      files: for each file that is needed, the names under which it may be found; a name may be that
        of a folder.
      read: makes `{split: blocks}`, float32 `[n, D]`, from the paths of the files and the published
        sizes `{split: rows}`. Splits are to be consumed in the order train, validation, test.
    """

    title: str
    files: tuple[tuple[str, ...], ...]
    read: Callable[[Sequence[pathlib.Path], Mapping[str, int]], Splits]


SOURCES: dict[str, tuple[Source, ...]] = {
    "bsds300": (
        Source(
            "patches drawn with seed 0 from the 300 images",
            (("BSDS300-images.tgz", "BSDS300/images", "images"),),
            lambda paths, sizes: read_patches(paths[0], sizes),
        ),
    ),
}


def find_source(
    name: str, folders: Sequence[pathlib.Path]
) -> tuple[Source, list[pathlib.Path]] | None:
    """Returns the first source whose files all lie in one place, and their paths.

    Places are each folder itself, its subfolders `NAME` and `data/NAME` (in lower or upper case, as
    in the MAF authors' archive), and TFDS's `downloads/manual`.
    """
    places = ("", name, f"data/{name}", name.upper(), f"data/{name.upper()}", "downloads/manual")
    for source in SOURCES[name]:
        for folder in folders:
            for place in places:
                paths = [_first(folder / place, names) for names in source.files]
                if None not in paths:
                    return source, paths
    return None


def _first(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path | None:
    return next((folder / name for name in names if (folder / name).exists()), None)


def describe_sources(name: str) -> str:
    """The names of the files of which one set is needed, in words."""
    return ", or ".join(
        " and ".join(" or ".join(names) for names in source.files) for source in SOURCES[name]
    )
