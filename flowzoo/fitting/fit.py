"""From an array to a trained flow, by the loop that the command line runs."""

from collections.abc import Mapping
import hashlib
import math
import os
import tempfile
from typing import Any

import jax
import numpy as np

from flowzoo.data.dataset import Dataset, Split, check_finite
from flowzoo.pretrained.card import make_card
from flowzoo.raw_flow import RawFlow, on_raw_data
from flowzoo.training.config import default_config
from flowzoo.training.loop import train
from flowzoo.transforms import Affine, Chain, Logit, Reshape, Transform
from flowzoo.zoo.parameters import num_parameters

# The fully connected flow with learned nonlinearities.
DEFAULT_MODEL = {
    "name": "relative_gradient",
    "num_layers": 4,
    "activation": "spline",
    "whiten": True,
    "init": "identity",
}
# Keeps the logit of pixels below 4.6, see `flowzoo.data.digits`.
PIXEL_ALPHA = 0.01


def fit(
    data: np.ndarray,
    model: Mapping[str, Any] | None = None,
    *,
    labels: np.ndarray | None = None,
    levels: int | None = None,
    validation: float = 0.1,
    num_epochs: int = 100,
    batch_size: int = 100,
    learning_rate: float = 3e-3,
    patience: int = 30,
    seed: int = 0,
    workdir: str | os.PathLike | None = None,
) -> RawFlow:
    """Trains a flow on an array by maximum likelihood.

    Real numbers are standardised, levels (pixels) are dequantized and mapped to the real line; both
    belong to the flow that comes back, so that it is one on the array's own scale. Training stops
    after `num_epochs`, or after `patience` epochs without a better likelihood of the validation
    part, whose best epoch is kept. Adam, its rate falling to zero along a cosine.

    Args:
      data: `[N, *event_shape]`: real numbers, or integers 0 … `levels` − 1.
      model: options of `flowzoo.build`, by default a fully connected flow with splines.
      labels: `[N]`, integers from 0, to condition the flow on.
      levels: of integer data, 256 for usual images.
      validation: the part of the rows, drawn at random, on which the best epoch is chosen.
      num_epochs, batch_size, learning_rate, patience: of training.
      seed: of the split, the starting values and the order of the rows.
      workdir: where to keep checkpoints, metrics and TensorBoard events; a run that was interrupted
        goes on there. By default nothing is kept.

    Returns:
      The flow on raw data, with a card, so that `flowzoo.save_pretrained` can save it.

    Raises:
      ValueError: if the data are not as above, hold NaN or infinity, or a feature that is constant,
        or if an option is not known.
      FloatingPointError: if training diverges.

    Example:
      >>> import flowzoo, jax, numpy as np
      >>> data = np.random.default_rng(0).normal(size=(200, 3)) @ np.diag([1.0, 10.0, 100.0])
      >>> flow = flowzoo.fit(data, {"name": "gaussian"}, num_epochs=1)
      >>> flow.sample(jax.random.key(0), (5,)).shape
      (5, 3)
    """
    model = dict(DEFAULT_MODEL if model is None else model)
    dataset = _dataset(np.asarray(data), labels, levels, validation, seed)
    config = default_config()
    devices = jax.device_count()
    batch_size = min(batch_size, len(dataset.train))
    config.update(
        conditional=labels is not None,
        batch_size=max(devices, batch_size - batch_size % devices),
        num_epochs=num_epochs,
        patience=patience,
        seed=seed,
    )
    config.dataset.name = dataset.name
    config.model.update(model)
    config.optimizer.update(learning_rate=learning_rate, schedule="cosine")
    if workdir is None:
        with tempfile.TemporaryDirectory(prefix="flowzoo-") as folder:
            trained = train(config, dataset, folder)
    else:
        trained = train(config, dataset, workdir)
    raw = on_raw_data(trained.flow, dataset, levels)
    raw.card = make_card(
        raw,
        name=model["name"],
        model=model,
        seed=seed,
        dataset=dataset.name,
        num_parameters=num_parameters(raw),
        training={
            "command": "flowzoo.fit",
            "wall_seconds": round(trained.wall_seconds, 1),
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
        },
    )
    return raw


def _dataset(
    data: np.ndarray, labels: np.ndarray | None, levels: int | None, part: float, seed: int
) -> Dataset:
    if data.ndim < 2 or len(data) < 2:
        raise ValueError(
            f"fit got data of shape {data.shape}, expected [N, *event_shape] with N at least 2; "
            "a single feature has shape [N, 1]."
        )
    if not 0 < part < 1:
        raise ValueError(f"fit got validation {part}, expected a part of the data, in (0, 1).")
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != (len(data),) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                f"fit got labels of shape {labels.shape} and dtype {labels.dtype}, expected "
                f"[{len(data)}] integers, one for each row of the data."
            )
        labels = labels.astype(np.int32)
    # Data of another run must not be continued by a workdir.
    name = f"array-{hashlib.sha256(np.ascontiguousarray(data)).hexdigest()[:12]}"
    data, preprocessing = _preprocess(data, levels)
    order = np.random.default_rng(seed).permutation(len(data))
    cut = min(max(1, round(part * len(data))), len(data) - 1)
    validation, train_split = (
        Split(data[rows], None if labels is None else labels[rows])
        for rows in (order[:cut], order[cut:])
    )
    shape = data.shape[1:]
    image_shape = None
    if levels is not None and len(shape) in (2, 3):
        image_shape = (*shape, 1) if len(shape) == 2 else shape
    return Dataset(
        name=name,
        train=train_split,
        validation=validation,
        test=validation,
        preprocessing=preprocessing,
        dequantize=levels is not None,
        num_classes=None if labels is None else int(labels.max()) + 1,
        image_shape=image_shape,
        bits_per_dim=levels is not None,
    )


def _preprocess(data: np.ndarray, levels: int | None) -> tuple[np.ndarray, Transform]:
    """The data in the dtype that `Dataset` takes, and the map to the flow's vectors."""
    shape = data.shape[1:]
    vector = (math.prod(shape),)
    steps: list[Transform] = [] if shape == vector else [Reshape(shape, vector)]
    if levels is not None:
        if not np.issubdtype(data.dtype, np.integer) or data.min() < 0 or data.max() >= levels:
            raise ValueError(
                f"fit got data of dtype {data.dtype} between {data.min()} and {data.max()}, and "
                f"levels={levels}: expected integers 0 … {levels - 1}."
            )
        data = data.astype(np.uint8 if levels <= 256 else np.int32)
        steps += [Affine(vector, scale=float(levels)), Logit(vector, alpha=PIXEL_ALPHA)]
        return data, Chain(steps)
    if not np.issubdtype(data.dtype, np.floating):
        raise ValueError(
            f"fit got data of dtype {data.dtype}: for levels, such as those of pixels, pass "
            "levels=256 or how many there are; otherwise convert the data to floating point."
        )
    check_finite(data, "The array")
    mean, scale = data.mean(0, dtype=np.float64), data.std(0, dtype=np.float64)
    if np.any(constant := (scale <= 1e-7 * np.abs(mean))):
        place = ", ".join(map(str, np.argwhere(constant)[0]))
        raise ValueError(
            f"The feature [{place}] (counting from 0) is the same in all rows, expected features "
            "that vary: a density needs them; leave it out."
        )
    steps.append(Affine(vector, shift=mean.reshape(-1), scale=scale.reshape(-1)))
    return data.astype(np.float32), Chain(steps)
