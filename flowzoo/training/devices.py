"""Devices, processes and where arrays lie.

Training is data parallel: one program per device under `jax.shard_map` over a mesh with the single
axis `data`, which is what `jax.pmap` is made of today, without its extra leading axis on every array.
Parameters and data are replicated, each device works on its part of every batch, and gradients are
averaged with `jax.lax.pmean`.
"""

import os
import pathlib

import jax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

AXIS = "data"


def make_mesh() -> Mesh:
    """All devices of all processes in a row."""
    return Mesh(np.array(jax.devices()), (AXIS,))


def replicate(tree, mesh: Mesh):
    """Puts the same host arrays on every device of every process."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def put(a):
        a = np.asarray(a)
        return jax.make_array_from_callback(a.shape, sharding, lambda index: a[index])

    return jax.tree.map(put, tree)


def is_main_process() -> bool:
    """Whether this process is the one that writes and reports."""
    return jax.process_index() == 0


def agree(value: float) -> float:
    """The first process's value, in every process: for decisions that depend on a clock."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.broadcast_one_to_all(np.float64(value)))


def enable_compilation_cache() -> None:
    """Keeps compiled programs between runs, in a folder of the user's cache directory.

    The environment variable `FLOWZOO_COMPILATION_CACHE` names another folder; `off` switches it off.
    """
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "flowzoo" / "xla"
    folder = os.environ.get("FLOWZOO_COMPILATION_CACHE", str(default.expanduser()))
    if folder != "off":
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
