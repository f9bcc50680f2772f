"""Datasets: splits in memory, and invertible preprocessing with its log-determinant."""

import difflib
import inspect
import os
from typing import Any

from flowzoo.data.arrays import PREFIX, load_array
from flowzoo.data.dataset import Dataset, Split, bits_per_dim, dequantize
from flowzoo.data.digits import load_digits
from flowzoo.data.images import IMAGE_SETS, load_images
from flowzoo.data.mixing import DATASETS as MIXTURES
from flowzoo.data.mixing import load_mixture
from flowzoo.data.sphere_mixture import load_sphere_mixture
from flowzoo.data.tabular import TABULAR_SETS, load_tabular
from flowzoo.data.toy import TOYS, load_toy

SPHERE_MIXTURE = "toy/sphere_mixture"
DATASETS = (
    *IMAGE_SETS,
    *TABULAR_SETS,
    "digits",
    *(f"toy/{toy}" for toy in TOYS),
    SPHERE_MIXTURE,
    *MIXTURES,
)


def load_dataset(
    name: str, *, data_dir: str | os.PathLike | None = None, seed: int = 0, **options: Any
) -> Dataset:
    """Loads a dataset into memory.

    Args:
      name: one of `DATASETS`.
      data_dir: where image and tabular sets are looked for and prepared, before `$TFDS_DATA_DIR`
        and `~/tensorflow_datasets`; `load_images` and `load_tabular` say how. The others need no
        files.
      seed: of the drawn points (`toy/…`) and of the shuffled split (`digits`). The other sets have
        published splits, which it does not change; mixtures have theirs in the name, `ica/iflow-7`.
      **options: of `toy/sphere_mixture` only: `num_components`, `dim` and `scale`.

    Raises:
      ValueError: if the name or an option is unknown, or the data are damaged or hold NaN or
        infinity.
      FileNotFoundError: if an image or tabular set is neither prepared nor downloadable.

    Example:
      >>> import flowzoo
      >>> dataset = flowzoo.load_dataset("toy/moons")
      >>> dataset.train.x.shape
      (5000, 2)
    """
    if name == SPHERE_MIXTURE:
        known = inspect.signature(load_sphere_mixture).parameters
        if not options.keys() <= known.keys():
            unknown = next(option for option in options if option not in known)
            raise ValueError(
                f"{name} got the option {unknown!r}, expected some of {', '.join(known)}."
            )
        return load_sphere_mixture(seed=seed, **options)
    if options:
        raise ValueError(
            f"The dataset {name!r} got the option {next(iter(options))!r}, expected none: only "
            f"{SPHERE_MIXTURE} has options."
        )
    if name in IMAGE_SETS:
        return load_images(name, data_dir=data_dir)
    if name in TABULAR_SETS:
        return load_tabular(name, data_dir=data_dir)
    if name == "digits":
        return load_digits(seed=seed)
    if str(name).startswith("ica/"):
        return load_mixture(name)
    if str(name).startswith(PREFIX):
        return load_array(name, data_dir)
    if name in DATASETS:
        return load_toy(name.removeprefix("toy/"), seed=seed)
    near = difflib.get_close_matches(str(name), DATASETS)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"Unknown dataset {name!r}.{hint} Known: {', '.join(DATASETS)}.")


__all__ = ["DATASETS", "Dataset", "Split", "bits_per_dim", "dequantize", "load_dataset"]
