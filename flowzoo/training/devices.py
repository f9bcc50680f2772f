"""Devices, processes and where arrays lie.

Devices form a mesh with two axes. Along `data` they share the rows of every batch, along `model`
the entries of every matrix.

Where the model axis has length 1, each device holds all parameters: one program per device under
`jax.shard_map`, which is what `jax.pmap` is made of today, gradients averaged with `jax.lax.pmean`.
Otherwise parameters, gradients and the optimizer's moments are split, and the compiler divides one
program for the whole mesh.
"""

import os
import pathlib

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

DATA, MODEL = "data", "model"


def usable_cores() -> int:
    """The processor cores that this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_mesh(data: int = 0, model: int = 1, batch_size: int = 0) -> Mesh:
    """The devices of all processes as a mesh `[data, model]`.

    Args:
      data: number of parts of a batch; 0: as many as there are devices for.
      model: number of parts of a matrix.
      batch_size: if not 0, a number of parts that is chosen here divides it, so that the batch is
        the same on any number of devices; the others have nothing to do then.

    Raises:
      ValueError: if there are not as many devices, or they cannot be divided so.
    """
    count = jax.device_count()
    if model < 1 or data < 0 or count < max(data, 1) * model or (data == 0 and count % model):
        raise ValueError(
            f"config.mesh has data={data} and model={model}, which does not fit the {count} "
            "devices: choose two numbers whose product is at most that, or data=0 and a model "
            "that divides it."
        )
    found = jax.devices()
    if data == 0:
        data = count // model
        processes = jax.process_count()
        # Each process has the same number of them.
        fitting = [n for n in range(1, data + 1) if n * model % processes == 0]
        if chosen := [n for n in fitting if batch_size % n == 0]:
            data = chosen[-1]
        each = data * model // processes
        found = [d for p in range(processes) for d in _of_process(p)[:each]]
    return Mesh(np.array(found[: data * model]).reshape(data, model), (DATA, MODEL))


def _of_process(index: int) -> list[jax.Device]:
    return [device for device in jax.devices() if device.process_index == index]


def shardings(tree, mesh: Mesh):
    """Where each array of a tree lies.

    Arrays of two or more axes are split along the last one, if it divides by the model axis; all
    others are on every device.
    """
    parts = mesh.shape[MODEL]

    def place(a):
        split = parts > 1 and np.ndim(a) >= 2 and np.shape(a)[-1] % parts == 0
        axes = [None] * (np.ndim(a) - 1) + [MODEL] if split else []
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree.map(place, tree)


def distribute(tree, mesh: Mesh):
    """Puts arrays that are the same in every process where `shardings` says."""
    return jax.tree.map(_put, tree, shardings(tree, mesh))


def replicate(tree, mesh: Mesh):
    """Puts arrays that are the same in every process on every device."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: _put(a, everywhere), tree)


def _put(a, sharding: NamedSharding) -> jax.Array:
    if isinstance(a, jax.Array) and a.sharding == sharding:
        return a
    a = np.asarray(a)
    return jax.make_array_from_callback(a.shape, sharding, lambda index: a[index])


def to_host(tree):
    """The whole of each array as NumPy arrays, in every process."""
    if jax.process_count() > 1:
        tree = jax.tree.map(lambda a: multihost_utils.process_allgather(a, tiled=True), tree)
    return jax.device_get(tree)


def is_main_process() -> bool:
    """Whether this process is the one that writes and reports."""
    return jax.process_index() == 0


def agree(value: float) -> float:
    """The first process's value, in every process: for decisions that depend on a clock."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float64(value)))


def largest(value: int) -> int:
    """The largest of all processes' values, in every process."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.process_allgather(np.int32(value)).max())


def enable_compilation_cache() -> None:
    """Keeps all compiled programs between runs, in a folder of the user's cache directory.

    The environment variable `FLOWZOO_COMPILATION_CACHE` names another folder; `off` switches it
    off.
    """
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "flowzoo" / "xla"
    folder = os.environ.get("FLOWZOO_COMPILATION_CACHE", str(default.expanduser()))
    if folder != "off":
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
