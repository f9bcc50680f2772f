"""Many samples, a part at a time."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.raw_flow import RawFlow

ROWS_AT_A_TIME = 10_000


def write_samples(
    model: RawFlow,
    path: pathlib.Path,
    count: int,
    *,
    seed: int,
    label: int | None = None,
    noise_std: float = 0.0,
) -> np.ndarray:
    """Draws `count` raw events into a `.npy` file, so that no more than a part is in memory.

    Args:
      model: what to draw from.
      path: the file.
      count: how many.
      seed: of the draw.
      label: the class, of a class-conditional model.
      noise_std: of the noise to take out, see `RawFlow.sample`.

    Returns:
      `[count, *event_shape]`, mapped from the file.

    Raises:
      OSError: if the disk has not room for that many.
      ValueError: if the label is not one of the model's.
    """
    rows = min(count, ROWS_AT_A_TIME)
    context = None if label is None else jnp.full(rows, label)
    shape = (rows,) if context is None else ()
    x = None
    for start in range(0, count, rows):
        key = jax.random.key(seed)
        key = key if start == 0 else jax.random.fold_in(key, start)
        part = np.asarray(model.sample(key, shape, context, noise_std=noise_std))
        if x is None:
            size, free = count * part[0].nbytes, shutil.disk_usage(path.parent).free
            if size > free:
                raise OSError(
                    f"{count:,} samples take {size / 1e9:,.1f} GB, but {path.parent} has room for "
                    f"{free / 1e9:,.1f} GB: draw fewer, or write elsewhere."
                )
            x = np.lib.format.open_memmap(path, "w+", part.dtype, (count, *part.shape[1:]))
        x[start : start + rows] = part[: count - start]
    x.flush()
    return x
