"""POWER, GAS, HEPMASS, MINIBOONE and BSDS300 through TFDS, as the MAF paper prepared them."""

from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import os
import pathlib
import sys

import numpy as np

from flowzoo.data.dataset import Dataset, Split
from flowzoo.data.folders import data_folders, find_prepared, first_writable
from flowzoo.data.sources import describe_sources, find_source
from flowzoo.transforms.affine import Affine

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class _TabularSet:
    """What the literature fixes about a tabular set: D, and the numbers of rows by split."""

    dim: int
    sizes: Mapping[str, int]


def _sizes(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


TABULAR_SETS = {
    "power": _TabularSet(6, _sizes(1_659_917, 184_435, 204_928)),
    "gas": _TabularSet(8, _sizes(852_174, 94_685, 105_206)),
    "hepmass": _TabularSet(21, _sizes(315_123, 35_013, 174_987)),
    "miniboone": _TabularSet(43, _sizes(29_556, 3_284, 3_648)),
    "bsds300": _TabularSet(63, _sizes(1_000_000, 50_000, 250_000)),
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
    folder = find_prepared(data_folders(data_dir), f"flowzoo_{name}/1.0.0")
    folder = folder or prepare_tabular(name, data_dir=data_dir)
    splits = {split: Split(x) for split, x in _read(name, folder).items()}
    return Dataset(name=name, preprocessing=Affine((TABULAR_SETS[name].dim,)), **splits)


def prepare_tabular(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    source: str | os.PathLike | None = None,
) -> pathlib.Path:
    """Prepares a tabular set into a TFDS folder; returns that folder.

    Args:
      name: one of `TABULAR_SETS`.
      data_dir: where to write; by default `$TFDS_DATA_DIR` or `~/tensorflow_datasets`.
      source: folder with the original files; by default those folders.

    Raises:
      FileNotFoundError: if the files are not found.
      ValueError: if they are damaged or not those of the dataset.
    """
    folders = data_folders(data_dir)
    searched = folders if source is None else [pathlib.Path(source).expanduser()]
    found = find_source(name, searched)
    if found is None:
        raise FileNotFoundError(
            f"{name} is neither prepared nor are its files in {', '.join(map(str, searched))}: "
            f"put {describe_sources(name)} there, or name their folder: "
            f"`python -m flowzoo.data.prepare {name} --from=FOLDER`."
        )
    origin, paths = found
    spec = TABULAR_SETS[name]
    splits = origin.read(paths, spec.sizes)
    where = ", ".join(map(str, paths))
    return _write(name, first_writable(folders), splits, origin.title, where)


def _write(
    name: str, data_dir: pathlib.Path, splits: Mapping[str, Iterable], title: str, where: str
) -> pathlib.Path:
    """Writes the splits with the dataset's TFDS builder."""
    import tensorflow_datasets as tfds

    from flowzoo.data.tabular_builder import TABULAR_BUILDERS

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    spec = TABULAR_SETS[name]
    splits = {s: _checked(splits[s], spec, name, s, where) for s in SPLITS}
    builder = TABULAR_BUILDERS[name](data_dir=data_dir, splits=splits, source=title)
    try:
        builder.download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
    except OSError:
        # Another process may have prepared the same folder meanwhile; then ours is not needed.
        if not (builder.data_path / "dataset_info.json").exists():
            raise
    return pathlib.Path(builder.data_path)


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


def _read(name: str, folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns `{split: [N, D] float32}` of a prepared folder."""
    from array_record.python.array_record_module import ArrayRecordReader
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    spec = TABULAR_SETS[name]
    splits = tfds.builder_from_directory(folder).info.splits
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
