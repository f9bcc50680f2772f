"""Where prepared datasets lie, and where they may be written."""

from collections.abc import Sequence
import os
import pathlib


def data_folders(data_dir: str | os.PathLike | None) -> list[pathlib.Path]:
    """Returns where to look and, in the same order, where to write.

    They are `data_dir`, `$TFDS_DATA_DIR` and `~/tensorflow_datasets`.
    """
    given = (data_dir, os.environ.get("TFDS_DATA_DIR"), "~/tensorflow_datasets")
    return list(dict.fromkeys(pathlib.Path(d).expanduser() for d in given if d))


def find_prepared(folders: Sequence[pathlib.Path], relative: str) -> pathlib.Path | None:
    """Returns the first `folder/relative` that is prepared and holds array_record files."""
    for folder in folders:
        path = folder / relative
        if (path / "dataset_info.json").exists() and any(path.glob("*array_record*")):
            return path
    return None


def first_writable(folders: Sequence[pathlib.Path]) -> pathlib.Path:
    """Returns the first folder that can be written to, or made; the first one if none can."""
    return next((folder for folder in folders if is_writable(folder)), folders[0])


def is_writable(folder: pathlib.Path) -> bool:
    """Whether `folder` can be written to, or made."""
    while not folder.exists():
        folder = folder.parent
    # The mode bits too: they do not stop root, but a folder marked read-only is meant to stay so.
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)
