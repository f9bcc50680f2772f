"""POWER, GAS, HEPMASS, MINIBOONE and BSDS300 through TFDS, as the MAF paper prepared them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import os
import pathlib
import tarfile
from typing import Any

import numpy as np

from flowzoo.data import archive
from flowzoo.data.dataset import Dataset, Split
from flowzoo.data.folders import data_folders, find_prepared, first_writable, prepare, tidy
from flowzoo.data.patches import SIDE
from flowzoo.data.sources import PATCHES, describe_sources, find_source, from_archive, source_of
from flowzoo.transforms.elementwise.affine import Affine

SPLITS = ("train", "validation", "test")
# Of what a set was made, in TFDS's metadata, and in what it then differs from the published one.
NOTES = {PATCHES: "patches drawn anew from the same 300 photographs"}


@dataclasses.dataclass(frozen=True)
class _TabularSet:
    """What the literature fixes about a tabular set.

    Attributes:
      dim: D.
      sizes: numbers of rows by split.
      patch_shape: `(H, W, C)`, if rows are image patches without their last pixel.
    """

    dim: int
    sizes: Mapping[str, int]
    patch_shape: tuple[int, int, int] | None = None


def _sizes(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


TABULAR_SETS = {
    "power": _TabularSet(6, _sizes(1_659_917, 184_435, 204_928)),
    "gas": _TabularSet(8, _sizes(852_174, 94_685, 105_206)),
    "hepmass": _TabularSet(21, _sizes(315_123, 35_013, 174_987)),
    "miniboone": _TabularSet(43, _sizes(29_556, 3_284, 3_648)),
    "bsds300": _TabularSet(63, _sizes(1_000_000, 50_000, 250_000), (SIDE, SIDE, 1)),
}


def load_tabular(name: str, *, data_dir: str | os.PathLike | None) -> Dataset:
    """Loads a tabular set, float32 `[N, D]`, which needs no preprocessing in the model.

    Folders are looked through in this order: `data_dir`, `$TFDS_DATA_DIR`,
    `~/tensorflow_datasets`. What `prepare_tabular` has prepared in one of them is read; otherwise
    it is prepared first, into the first folder that can be written to.

    Raises:
      FileNotFoundError: if the data are nowhere found.
      ValueError: if a folder or a file holds other data than published.

    Source: Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation",
    arXiv 1705.07057, appendix D.
    """
    import tensorflow_datasets as tfds

    folder = find_prepared(data_folders(data_dir), f"flowzoo_{name}/1.0.0")
    folder = folder or prepare_tabular(name, data_dir=data_dir)
    info = tfds.builder_from_directory(folder).info
    splits = {split: Split(x) for split, x in _read(name, folder, info.splits).items()}
    note = NOTES.get((info.metadata or {}).get("source"))
    return Dataset(
        name=name,
        preprocessing=Affine((TABULAR_SETS[name].dim,)),
        patch_shape=TABULAR_SETS[name].patch_shape,
        note=note,
        **splits,
    )


def prepare_tabular(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    source: str | os.PathLike | None = None,
) -> pathlib.Path:
    """Prepares a tabular set into a TFDS folder; returns that folder.

    The files are those of the MAF authors' archive, the archive itself, or the originals of UCI and
    Berkeley; `flowzoo.data.sources` lists their names.

    Args:
      name: one of `TABULAR_SETS`.
      data_dir: where to write; by default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      source: folder with the files, or one of them, or the archive; by default they are looked for
        in those folders, and then the archive (857 MB) is downloaded into the first one that can be
        written to. A broken download goes on where it stopped.

    Raises:
      FileNotFoundError: if the files are neither found nor downloadable.
      ValueError: if they are damaged or not those of the dataset.
    """
    folders = data_folders(data_dir)
    if source is None:
        found = find_source(name, folders)
        packed = None if found else _archive(name, folders)
    else:
        path = pathlib.Path(source).expanduser()
        found = source_of(name, path)
        packed = path / archive.NAME if path.is_dir() else path
        if found is None and not (tarfile.is_tarfile(packed) if packed.exists() else False):
            raise FileNotFoundError(
                f"{path} is not a source of {name}: expected {describe_sources(name)}, a folder "
                f"with them, or the MAF authors' {archive.NAME}."
            )
    target = first_writable(folders, found[1] if found else [packed])
    opened = contextlib.nullcontext(found) if found else from_archive(name, packed)
    with tidy(target), opened as (origin, paths):
        where = ", ".join(map(str, paths))
        splits = origin.read(paths, TABULAR_SETS[name].sizes)
        return _write(name, target, splits, origin.title, where)


def _archive(name: str, folders: Sequence[pathlib.Path]) -> pathlib.Path:
    """The MAF authors' archive in one of the folders, downloaded if need be."""
    for folder in folders:
        for place in ("", "downloads", "downloads/manual"):
            if (path := folder / place / archive.NAME).exists():
                return path
    target = first_writable(folders)
    try:
        with tidy(target):
            return archive.download(target / "downloads")
    except OSError as error:
        raise FileNotFoundError(
            f"{name} is neither prepared in {', '.join(map(str, folders))} nor could the MAF "
            f"authors' archive be downloaded ({type(error).__name__}): try again, which goes on "
            f"where it stopped, or fetch {archive.URL} or {describe_sources(name)} otherwise and "
            f"name the file: `python -m flowzoo.data.prepare {name} --from=FILE`."
        ) from error


def _write(
    name: str, data_dir: pathlib.Path, splits: Mapping[str, Iterable], title: str, where: str
) -> pathlib.Path:
    """Writes the splits with the dataset's TFDS builder."""
    from flowzoo.data.tabular_builder import TABULAR_BUILDERS

    spec = TABULAR_SETS[name]
    splits = {s: _checked(splits[s], spec, name, s, where) for s in SPLITS}
    builder = TABULAR_BUILDERS[name](data_dir=data_dir, splits=splits, source=title)
    return prepare(builder, f"{name} is read from {where}")


def _checked(
    blocks: Iterable[np.ndarray], spec: _TabularSet, name: str, split: str, where: str
) -> Iterator[np.ndarray]:
    """Passes blocks on, and raises ValueError if their shapes are not as published."""
    rows = 0
    for block in blocks:
        if block.shape[1:] != (spec.dim,):
            raise ValueError(
                f"{where} gives {block.shape[1]} columns for {name}, expected {spec.dim} as "
                "published: it is not the file that the paper used."
            )
        rows += len(block)
        yield block
    if rows != spec.sizes[split]:
        raise ValueError(
            f"{where} gives {rows} rows for the {split} split of {name}, expected "
            f"{spec.sizes[split]} as published: it is incomplete, or another version."
        )


def _read(name: str, folder: pathlib.Path, splits: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns `{split: [N, D] float32}` of a prepared folder, whose splits TFDS describes."""
    from array_record.python.array_record_module import ArrayRecordReader
    from tensorflow_datasets.proto import tf_example_pb2

    spec = TABULAR_SETS[name]
    arrays = {}
    for split in SPLITS:
        x, rows = np.empty((spec.sizes[split], spec.dim), np.float32), 0
        for path in splits[split].filepaths:
            reader = ArrayRecordReader(os.fspath(path))
            for i in range(reader.num_records()):
                feature = tf_example_pb2.Example.FromString(reader.read([i])[0]).features.feature
                values = feature["x/value"].bytes_list.value[0]
                block = np.frombuffer(values, np.float32).reshape(-1, spec.dim)
                x[rows : rows + len(block)] = block[: len(x) - rows]
                rows += len(block)
            reader.close()
        if rows != len(x):
            raise ValueError(
                f"The {split} split of {name} in {folder} has {rows} rows, expected {len(x)}: "
                "delete that folder and prepare it again."
            )
        arrays[split] = x
    return arrays
