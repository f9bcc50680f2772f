"""Where prepared datasets lie, and where they may be written."""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import io
import os
import pathlib
import sys


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


def first_writable(
    folders: Sequence[pathlib.Path], originals: Iterable[pathlib.Path] = ()
) -> pathlib.Path:
    """Returns the first folder that can be written to, or made; the first one if none can.

    Where the original files lie is not written into, unless it is a folder of TFDS's that has them
    in its `downloads`.
    """
    originals = [path.absolute() for path in originals]

    def holds_originals(folder: pathlib.Path) -> bool:
        folder = folder.absolute()
        downloads = folder / "downloads"
        return any(p.is_relative_to(folder) and not p.is_relative_to(downloads) for p in originals)

    others = [folder for folder in folders if not holds_originals(folder)] or list(folders)
    return next((folder for folder in others if is_writable(folder)), others[0])


def prepare(builder, what: str, **download: bool) -> pathlib.Path:
    """Runs a TFDS builder; returns its folder.

    Args:
      builder: what to run.
      what: what it does, in words: TFDS says that it downloads, whatever it does.
      **download: options of `tfds.download.DownloadConfig`.
    """
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    print(f"{what}, prepared once, in {builder.data_path}.", file=sys.stderr)
    config = tfds.download.DownloadConfig(try_download_gcs=False, **download)
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            builder.download_and_prepare(file_format="array_record", download_config=config)
        except OSError:
            # Another process may have prepared the same folder meanwhile; then ours is not needed.
            if not (builder.data_path / "dataset_info.json").exists():
                raise
    return pathlib.Path(builder.data_path)


@contextlib.contextmanager
def tidy(folder: pathlib.Path) -> Iterator[None]:
    """Takes away, if the block fails, the empty folders that it made in `folder` and above it."""
    before = set(folder.iterdir()) if folder.is_dir() else set()
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        made = [path for path in folder.iterdir() if path not in before] if folder.is_dir() else []
        below = [sub for path in made if path.is_dir() for sub in (path, *path.rglob("*"))]
        empty = [path for path in sorted(below, reverse=True) if path.is_dir()]
        for path in [*empty, *missing]:
            with contextlib.suppress(OSError):  # It holds a file, or is gone.
                path.rmdir()
        raise


def is_writable(folder: pathlib.Path) -> bool:
    """Whether `folder` can be written to, or made."""
    while not folder.exists():
        folder = folder.parent
    # The mode bits too: they do not stop root, but a folder marked read-only is meant to stay so.
    return os.access(folder, os.W_OK) and bool(folder.stat().st_mode & 0o222)
