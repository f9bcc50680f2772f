"""What a dataset is: three splits in memory, and the invertible map from raw to model space."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.data.symmetries import Symmetries, symmetries
from flowzoo.transforms.transform import Transform

# Bounds the temporaries of `model_space`; divides the image sets' sizes, so it compiles once.
_CHUNK = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One part of a dataset, in its raw space.

    Attributes:
      x: `[N, *raw_shape]`; uint8 where it holds integer levels, otherwise float32.
      labels: `[N]` int32, or None.
      sources: `[N, d]`, what x is an invertible mixture of, or the part of it that is known.
    """

    x: np.ndarray
    labels: np.ndarray | None = None
    sources: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Three splits and how they reach the model.

    A model sees `preprocessing.forward(x)`, or `preprocessing.forward(dequantize(x, key, indices))`
    where `dequantize` is set. Training draws that noise afresh for every batch; validation and test
    data are passed through `model_space` once, with a fixed key.

    Attributes:
      name: the name that `load_dataset` takes.
      train, validation, test: the splits, each `x: [N, *raw_shape]`.
      preprocessing: raw space (after dequantization) → model space.
      dequantize: whether `x` holds integer levels, one unit apart, to which `u ~ U[0, 1)` is added.
      num_classes: number of labels, None without labels.
      image_shape: `(H, W, C)` that a raw row is reshaped to for plotting, None if not an image.
      bits_per_dim: whether results are reported in bits per dimension of the raw space too.
      patch_shape: `(H, W, C)` of images that a raw row holds without their last number, which is
        minus the sum of the others; None if it holds whole ones, or none.
      augmentation: what training does to each image at random, one of
        `flowzoo.data.symmetries.AUGMENTATIONS`.
      density: what the points were drawn from, with `log_prob(x)` in raw space and `entropy()` in
        nats, where that is known.
      note: in what the data differ from the published ones, if in anything.
      levels: L if raw data are integers 0 … L − 1 and L is known.
      units: data as they came → raw space, where this was done in double precision beforehand.
      raw_dtype: of the data as they came.

    Raises:
      ValueError: if a split is empty, has another shape than the preprocessing takes, has not one
        label per row, or holds a number that is not finite, or if the augmentation does not fit.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    preprocessing: Transform
    dequantize: bool = False
    num_classes: int | None = None
    image_shape: tuple[int, int, int] | None = None
    bits_per_dim: bool = False
    patch_shape: tuple[int, int, int] | None = None
    augmentation: str = "none"
    density: Any = None
    note: str | None = None
    levels: int | None = None
    units: Transform | None = None
    raw_dtype: str | None = None

    def __post_init__(self):
        for split_name in ("train", "validation", "test"):
            split = self.split(split_name)
            where = f"The {split_name} split of {self.name}"
            if len(split) == 0 or split.x.shape[1:] != self.raw_shape:
                raise ValueError(
                    f"{where} has shape {split.x.shape}, expected [N, *{self.raw_shape}] with "
                    "N at least 1."
                )
            if split.labels is not None and split.labels.shape != (len(split),):
                raise ValueError(
                    f"{where} has {len(split)} rows and labels of shape {split.labels.shape}, "
                    "expected one label per row."
                )
            check_finite(split.x, where)
        _ = self.symmetries

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of one row of `x`."""
        return self.preprocessing.event_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event in model space."""
        return self.preprocessing.latent_shape

    def split(self, name: str) -> Split:
        """Returns the split called `train`, `validation` or `test`."""
        if name not in ("train", "validation", "test"):
            raise ValueError(f"Got split {name!r}, expected 'train', 'validation' or 'test'.")
        return getattr(self, name)

    def first(self, rows: int) -> "Dataset":
        """The same dataset cut to the first `rows` rows of each split."""
        cut = {}
        for name in ("train", "validation", "test"):
            arrays = vars(self.split(name)).items()
            cut[name] = Split(**{k: None if a is None else a[:rows] for k, a in arrays})
        return dataclasses.replace(self, **cut)

    def model_space(self, split_name: str, key: jax.Array) -> jax.Array:
        """Returns a whole split as the model sees it, float32 `[N, *event_shape]`.

        Args:
          split_name: `train`, `validation` or `test`.
          key: of the dequantization noise; unused where `dequantize` is off. Rows of equal index
            get equal noise under equal keys, so give every split its own.
        """
        return self._in_model_space(self.split(split_name).x, key)

    def seen_in_training(self, key: jax.Array) -> tuple[jax.Array, np.ndarray | None]:
        """Returns the training split in model space, and the labels of its rows or None.

        Where training sees images under symmetries, each row comes twice under different ones,
        `[2 N, *event_shape]`, all of them being equally frequent: what is fitted in closed form
        then sees the distribution that training sees.

        Args:
          key: of the dequantization noise; unused where `dequantize` is off.
        """
        x, labels = self.train.x, self.train.labels
        group = self.symmetries
        if group is not None:
            turns = np.arange(len(x)) % len(group)
            further = (turns + len(group) // 2) % len(group)
            x = np.concatenate([np.asarray(group.apply(x, which)) for which in (turns, further)])
            labels = None if labels is None else np.concatenate([labels, labels])
        return self._in_model_space(x, key), labels

    @functools.cached_property
    def symmetries(self) -> Symmetries | None:
        """Those under one of which, drawn at random, training sees each image; None: as it is."""
        if self.augmentation == "none":
            return None
        shape = self.patch_shape or self.image_shape
        return symmetries(self.augmentation, shape, last_follows=self.patch_shape is not None)

    def _in_model_space(self, x: np.ndarray, key: jax.Array) -> jax.Array:
        indices = np.arange(len(x))
        key = key if self.dequantize else None
        chunks = [
            _to_model_space(self.preprocessing, x[i : i + _CHUNK], key, indices[i : i + _CHUNK])
            for i in range(0, len(x), _CHUNK)
        ]
        return jnp.concatenate(chunks)


@jax.jit
def _to_model_space(
    preprocessing: Transform, x: jax.Array, key: jax.Array | None, indices: jax.Array
) -> jax.Array:
    x = x.astype(jnp.float32) if key is None else dequantize(x, key, indices)
    return preprocessing.forward(x)


def dequantize(x: jax.Array, key: jax.Array, indices: jax.Array) -> jax.Array:
    """Adds uniform noise to integer levels: `x + u`, `u ~ U[0, 1)`, in float32.

    A density on `x + u` bounds the probability of the levels from below, which makes the two
    comparable. The noise of a row depends on `key` and its index alone: not on how rows are
    batched, nor on the number of devices.

    Args:
      x: `[B, *raw_shape]`, integer levels of any dtype.
      key: one key for the whole data set.
      indices: `[B]`, which row of the data set each row of `x` is.

    Source: Theis, van den Oord, Bethge, "A note on the evaluation of generative models",
    arXiv 1511.01844.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, indices)
    u = jax.vmap(lambda k: jax.random.uniform(k, x.shape[1:], jnp.float32))(keys)
    return x.astype(jnp.float32) + u


def bits_per_dim(log_prob: jax.Array, log_det: jax.Array, dim: int) -> jax.Array:
    """`−(log p(z) + log|det ∂z/∂x|) / (D ln 2)`: the bits that one dimension of `x` costs.

    Args:
      log_prob: `[...]`, log-density of `z` in model space, in nats.
      log_det: `[...]`, log-determinant of the preprocessing `x → z`, in nats, for raw `x` with
        levels one unit apart.
      dim: D, number of dimensions of `x`.
    """
    return -(log_prob + log_det) / (dim * math.log(2))


def check_finite(x: np.ndarray, where: str) -> None:
    """Raises ValueError naming the first row of `x: [N, ...]` that holds NaN or infinity."""
    if np.issubdtype(x.dtype, np.integer):
        return
    finite = np.isfinite(x).reshape(len(x), -1)
    if not finite.all():
        row = int(np.argmin(finite.all(axis=1)))
        value = x[row].reshape(-1)[np.argmin(finite[row])]
        raise ValueError(
            f"{where} holds {value} in row {row} (counting from 0), expected finite numbers: "
            "repair or remove that row."
        )
