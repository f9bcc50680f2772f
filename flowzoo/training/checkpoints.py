"""Checkpoints: asynchronous, atomic, the last two kept, each with the best variables so far.

A checkpoint holds flat dictionaries of arrays, named by their place in `TrainState`, in two items:
`best`, the variables with the best validation likelihood, which is all that evaluation reads, and
`progress`, the rest. Beside the files of an item lie their SHA-256, without which a flipped bit
would come back as a parameter.
"""

from collections.abc import Iterator
import contextlib
import errno
import hashlib
import json
import os

from etils import epath
from flax import nnx
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from flowzoo.numerics.named_arrays import Arrays, from_arrays, to_arrays
from flowzoo.training.state import Best, TrainState, Variables
from flowzoo.training.workdir import CHECKPOINTS, last_checkpoint
from flowzoo.transforms.transform import mark_fitted

KEEP = 2
CHECKSUMS = "sha256.json"


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      workdir: the run's folder.
      read_only: open it without tidying up after an interrupted save.

    Raises:
      FileNotFoundError: if `read_only` and the folder has no checkpoint.
    """

    def __init__(self, workdir: epath.PathLike, *, read_only: bool = False):
        self.folder = epath.Path(workdir).absolute() / CHECKPOINTS
        if read_only and not self.folder.exists():
            raise FileNotFoundError(
                f"{self.folder} does not exist: the run has saved no checkpoint yet."
            )
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else KEEP,
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
        )
        self.failed = False
        registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
        for item in ("best", "progress"):
            handler = _Checksummed()
            registry.add(item, ocp.args.StandardSave, handler)
            registry.add(item, ocp.args.StandardRestore, handler)
        self.manager = ocp.CheckpointManager(
            self.folder, options=options, handler_registry=registry
        )

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, None if there is none."""
        return self.manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Starts to save and returns as soon as `state` may be donated again.

        Raises:
          OSError: if this or an earlier checkpoint cannot be written.
        """
        if (step := int(state.step)) == self.latest_step():
            return
        if jax.default_backend() == "cpu":  # There the copy to the host is none.
            state = jax.tree.map(jnp.copy, state)
        best, progress = _items(to_arrays(state))
        with self._writing():
            self.manager.save(
                step,
                args=ocp.args.Composite(
                    best=ocp.args.StandardSave(best), progress=ocp.args.StandardSave(progress)
                ),
            )

    def restore(self, like: TrainState) -> TrainState:
        """Restores the newest checkpoint with the structure, shapes and places of `like`.

        Raises:
          ValueError: if the checkpoint is damaged or belongs to another model.
        """
        best, progress = _items(to_arrays(like))
        return from_arrays(self._restore(best=best, progress=progress), like)

    def restore_best(self, graph: nnx.GraphDef, like: Variables) -> nnx.Module:
        """Restores the flow with the best validation likelihood.

        Args:
          graph: structure of the flow.
          like: its variables, or their shapes.

        Raises:
          FileNotFoundError: if no checkpoint is complete yet.
          ValueError: if the checkpoint is damaged or belongs to another model.
        """
        if self.latest_step() is None:
            raise FileNotFoundError(f"{self.folder} holds no complete checkpoint yet.")
        scalar = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
        template = {
            "best": Best(like.params, like.statistics, *scalar),
            "variables": {"constants": like.constants},
        }
        restored = from_arrays(self._restore(best=to_arrays(template)), template)
        best, constants = restored["best"], restored["variables"]["constants"]
        flow = nnx.merge(graph, best.params, best.statistics, constants)
        mark_fitted(flow)
        return flow

    def _restore(self, **items: Arrays) -> Arrays:
        step = self.latest_step()
        try:
            for name in items:
                _verify(self.folder / str(step) / name)
            saved = self.manager.item_metadata(step)
            for name, template in items.items():
                from_arrays(dict(saved[name]), template)
            restored = self.manager.restore(
                step,
                args=ocp.args.Composite(
                    **{k: ocp.args.StandardRestore(_abstract(v)) for k, v in items.items()}
                ),
            )
        except Exception as error:  # Orbax and TensorStore have no common class of errors.
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ValueError(
                f"The checkpoint {self.folder / str(step)} cannot be restored: {reason} If it was "
                "damaged, delete that folder to go on from the one before it; otherwise it belongs "
                "to another model and needs that model's config."
            ) from error
        return {key: value for name in items for key, value in restored[name].items()}

    def wait(self) -> None:
        """Returns when everything asked for is on disk.

        Raises:
          OSError: if it cannot be written.
        """
        with self._writing():
            self.manager.wait_until_finished()

    def close(self) -> None:
        """Finishes what is being saved and lets go of the folder.

        Raises:
          OSError: if something cannot be written and that was not said before.
        """
        if self.failed:
            # It would fail once more.
            with contextlib.suppress(Exception):
                self.manager.close()
            return
        with self._writing():
            self.manager.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and TensorStore have no common class of errors.
            self.failed = True
            reason = _reason(error) if self.folder.exists() else "it is gone"
            kept = last_checkpoint(self.folder.parent)
            on = f" That of step {kept} is kept, and the same command goes on from there."
            raise OSError(
                f"The checkpoint cannot be written to {self.folder}: {reason}."
                + (on if kept is not None else "")
            ) from error


def best_of_run(workdir: epath.PathLike, graph: nnx.GraphDef, like: Variables) -> nnx.Module:
    """The flow of a run that was best by validation; arguments and errors of `restore_best`.

    Raises:
      FileNotFoundError: also if the run has saved no checkpoint yet.
    """
    checkpoints = Checkpoints(workdir, read_only=True)
    try:
        return checkpoints.restore_best(graph, like)
    finally:
        checkpoints.close()


class _Checksummed(ocp.StandardCheckpointHandler):
    """Adds the SHA-256 of each file before Orbax gives the folder its final name."""

    def finalize(self, directory: epath.Path) -> None:
        super().finalize(directory)
        if jax.process_index() == 0:
            (directory / CHECKSUMS).write_text(json.dumps(_checksums(directory), indent=2) + "\n")


def _checksums(item: epath.Path) -> dict[str, str]:
    """The SHA-256 of each file in the folder of an item, by its path there."""
    found, folders = {}, [item]
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir():
                folders.append(path)
            elif path.name not in _UNHASHED:
                name = path.relative_to(item).as_posix()
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


# Orbax writes the second one when all else is done, and nothing in it is read.
_UNHASHED = (CHECKSUMS, "commit_success.txt")


def _verify(item: epath.Path) -> None:
    """Raises ValueError if a file of an item is missing or differs from what was saved."""
    path = item / CHECKSUMS
    if not path.exists():  # a checkpoint of flowzoo 0.1.0
        return
    expected, found = json.loads(path.read_text()), _checksums(item)
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(f"the file {item.name}/{name} is not the one that was saved.")


def _reason(error: BaseException) -> str:
    """What the system said, which TensorStore wraps in sentences of its own."""
    known = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.ENOENT)
    text = str(error).strip()
    said = [os.strerror(number) for number in known if os.strerror(number) in text]
    return said[0] if said else (text.splitlines() or [repr(error)])[0]


def _items(arrays: Arrays) -> tuple[Arrays, Arrays]:
    best = {k: v for k, v in arrays.items() if k.startswith(("best/", "variables/constants/"))}
    return best, {k: v for k, v in arrays.items() if not k.startswith("best/")}


def _abstract(arrays: Arrays) -> dict[str, jax.ShapeDtypeStruct]:
    # Always a place of this process: those that the checkpoint names may not exist here.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return {
        name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=getattr(a, "sharding", None) or here)
        for name, a in arrays.items()
    }
