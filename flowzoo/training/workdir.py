"""The folder of one run: whose it is, and the paths inside it."""

from collections.abc import Iterator
import contextlib
import datetime
import json
import os
import platform
from typing import Any

from etils import epath
import filelock
from ml_collections import config_dict

from flowzoo.training.config import flatten, make_config

CONFIG, RESULTS, METRICS = "config.json", "results.json", "metrics.jsonl"
CHECKPOINTS = "checkpoints"
# Who trains there, and what keeps others from it. The system lets go of the lock with the process.
OWNER, LOCK = "owner.json", ".lock"
# Of a sweep: the name of its best run, and why a run failed.
BEST, FAILURE = "best.json", "failure.json"

# Keys that change no number of a run, and those by which a run may be made longer.
FREE = ("checkpoint_seconds", "dataset.data_dir", "title")
GROWING = ("num_epochs", "patience")


def default_workdir(config: config_dict.ConfigDict) -> str:
    """`runs/<config.name>`."""
    return os.path.join("runs", config.name)


@contextlib.contextmanager
def owned(workdir: epath.Path, config: config_dict.ConfigDict) -> Iterator[None]:
    """Makes the folder this config's and, within the block, this process's.

    Raises:
      ValueError: if another process trains there, or the folder holds the run of another config.
      OSError: if the folder cannot be made or written.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    if "://" in os.fspath(workdir):  # A bucket knows no locks.
        claim(workdir, config)
        yield
        return
    lock = filelock.FileLock(workdir / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise ValueError(
            f"In the workdir {workdir} {_owner(workdir)} trains already: wait for it, stop it, or "
            "choose another --workdir."
        ) from None
    try:
        claim(workdir, config)
        now = datetime.datetime.now().isoformat(" ", "seconds")
        owner = {"process": os.getpid(), "host": platform.node(), "since": now}
        write_json(workdir / OWNER, owner)
        yield
    finally:
        (workdir / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(workdir: epath.Path) -> str:
    try:
        owner = json.loads((workdir / OWNER).read_text())
        return f"process {owner['process']} of {owner['host']}, since {owner['since']},"
    except (OSError, ValueError, KeyError):
        return "another process"


def claim(workdir: epath.Path, config: config_dict.ConfigDict) -> None:
    """Makes the folder this config's, or checks that it is.

    Keys that change no number may differ, and a run may be made longer: more epochs, more patience.
    A run that left neither a checkpoint nor a result is forgotten.

    Raises:
      ValueError: if it holds the run of another config, or a config that is none of flowzoo's; the
        message names the differing keys.
      OSError: if the folder cannot be made or written.
    """
    ours = json.loads(json.dumps(config.to_dict()))
    path = workdir / CONFIG
    theirs = ours
    if path.exists():
        # It may be another program's, or damaged, or written before some key was there.
        theirs = json.loads(json.dumps(load_config(workdir).to_dict()))
    if theirs != ours and not _has_begun(workdir):
        (workdir / FAILURE).unlink(missing_ok=True)
    elif differing := _differing(flatten(theirs), flatten(ours)):
        raise ValueError(
            f"The workdir {workdir} belongs to a run with another config. It differs in "
            f"{'; '.join(differing)}. Choose another --workdir, or the same values; only "
            f"{' and '.join(GROWING)} may grow."
        )
    if theirs != ours or not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, ours)


def _has_begun(workdir: epath.Path) -> bool:
    return (workdir / RESULTS).exists() or last_checkpoint(workdir) is not None


def last_checkpoint(workdir: epath.Path) -> int | None:
    """The step of the newest complete checkpoint in a workdir, None if there is none."""
    folder = workdir / CHECKPOINTS
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return max((int(name) for name in names if name.isdigit()), default=None)


def _differing(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    def matters(key: str) -> bool:
        there, here = theirs.get(key), ours.get(key)
        grown = key in GROWING and isinstance(there, int) and here > there
        return there != here and key not in FREE and not grown

    return [
        f"{key} (there {theirs.get(key)!r}, now {ours.get(key)!r})"
        for key in sorted(ours.keys() | theirs.keys())
        if matters(key)
    ]


def load_config(workdir: epath.PathLike) -> config_dict.ConfigDict:
    """Reads the config of a run.

    Raises:
      FileNotFoundError: if the folder is not a workdir.
      ValueError: if its config is damaged, or has keys or values that this flowzoo does not know.
    """
    path = epath.Path(workdir) / CONFIG
    if not path.exists():
        raise FileNotFoundError(
            f"{workdir} is not a workdir: it has no {CONFIG}. Expected the folder that "
            "`python -m flowzoo.train` wrote."
        )
    saved = read_json(path)
    if not isinstance(saved, dict):
        raise ValueError(f"{path} holds no config but {type(saved).__name__}; it was damaged.")
    try:
        return make_config(saved)
    except ValueError as error:
        raise ValueError(f"{path} is not a config of this flowzoo: {error}") from None


def read_json(path: epath.Path) -> Any:
    """Reads a JSON file.

    Raises:
      ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path} is not valid JSON ({error}); it was damaged.") from None


def write_json(path: epath.Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    temporary = path.parent / f"{path.name}.tmp"
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)
