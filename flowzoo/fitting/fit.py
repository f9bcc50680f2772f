"""From an array to a trained flow, by the loop that the command line runs."""

from collections.abc import Mapping, Sequence
import json
import math
import numbers
import os
import tempfile
from typing import Any

import numpy as np

from flowzoo.data.arrays import Recipe, array_dataset, save_array
from flowzoo.pretrained.card import make_card
from flowzoo.raw_flow import RawFlow, on_raw_data
from flowzoo.training.config import make_config
from flowzoo.training.loop import train
from flowzoo.zoo import complete
from flowzoo.zoo.parameters import num_parameters

# Few rows make few steps an epoch: as many epochs are made of them as give this many steps.
NUM_EPOCHS, NUM_STEPS = 100, 3000
EVALUATIONS = 200  # at most; between them are some of so many short epochs


def fit(
    data: np.ndarray,
    model: str | Mapping[str, Any] = "fully_connected_learned",
    *,
    labels: np.ndarray | None = None,
    levels: int | None = None,
    support: str | Sequence[str | Mapping[str, Any]] = "real",
    validation: float = 0.1,
    num_epochs: int | None = None,
    batch_size: int = 100,
    learning_rate: float = 3e-3,
    objective: str = "likelihood",
    patience: int | None = None,
    seed: int = 0,
    workdir: str | os.PathLike | None = None,
) -> RawFlow:
    """Trains a flow on an array by maximum likelihood.

    Real numbers are standardised, in double precision; where a feature has values far outside the
    rest, it is by quantiles and its tails are squeezed, with a warning. Levels (pixels) are
    dequantized and mapped to the real line. All of it belongs to the flow that comes back, so that
    it is one on the array's own scale, and samples have the array's precision. Training stops after
    `num_epochs`, or after `patience` epochs without a better likelihood of the validation part,
    whose best epoch is kept. Adam, its rate falling to zero along a cosine.

    Args:
      data: `[N, *event_shape]`: real numbers, or integers 0 … `levels` − 1.
      model: a name or options of `flowzoo.build`, by default a fully connected flow with splines.
      labels: `[N]`, integers from 0, to condition the flow on.
      levels: of integer data, 256 for usual images.
      support: `real`, or `positive` for positive numbers, whose logarithm is then standardised; or
        the support of each coordinate, `["real", "positive", "unit", "angle"]`, say, with all the
        names of `flowzoo.transforms.Supports`. Samples keep to it, and log-densities are those of
        the data's own numbers. Angles are cut where the widest gap between rows is.
      validation: the part of the rows, drawn at random, on which the best epoch is chosen.
      num_epochs: by default 100, and of few rows as many as make 3,000 steps.
      batch_size: rows in a step; at most all there are.
      learning_rate: at the start.
      objective: `likelihood`; of continuous flows also `flow_matching`, of those and residual flows
        `estimate`, the likelihood by unbiased estimates. The best epoch is that of the likelihood.
      patience: by default three tenths of `num_epochs`.
      seed: of the split, the starting values and the order of the rows.
      workdir: where to keep the array, checkpoints, metrics and TensorBoard events; a run that was
        interrupted goes on there, and `load_run`, `python -m flowzoo.evaluate` and the others open
        it. By default nothing is kept.

    Returns:
      The flow on raw data, with a card, so that `flowzoo.save_pretrained` can save it.

    Raises:
      ValueError: if the data are not as above, hold NaN or infinity, or a feature that is constant,
        or if an option is not known.
      FloatingPointError: if training diverges.

    Example:
      >>> import flowzoo, jax, numpy as np
      >>> data = np.random.default_rng(0).normal(size=(200, 3)) @ np.diag([1.0, 10.0, 100.0])
      >>> flow = flowzoo.fit(data, {"name": "gaussian"}, num_epochs=0)
      >>> flow.sample(jax.random.key(0), (5,)).shape
      (5, 3)
    """
    for name, value, least in (
        ("num_epochs", num_epochs, 0),
        ("batch_size", batch_size, 1),
        ("patience", patience, 1),
        ("levels", levels, 2),
        ("seed", seed, 0),
    ):
        _check_whole(name, value, least)
    if not (isinstance(learning_rate, numbers.Real) and 0 < learning_rate < math.inf):
        raise ValueError(f"fit got learning_rate {learning_rate!r}, expected a number above 0.")
    if not isinstance(model, str | Mapping):
        raise ValueError(
            f"fit got a model of type {type(model).__name__}, expected the name of a recipe or "
            'its options, such as {"name": "maf", "num_layers": 5}.'
        )
    model = complete(model)
    try:
        json.dumps(model)
    except TypeError as error:
        raise ValueError(
            f"fit got a model with an option that its card cannot tell ({error}): give maps as "
            'records, such as {"name": "spline", "num_bins": 8}.'
        ) from None
    if workdir is not None and not os.fspath(workdir):
        raise ValueError("fit got an empty workdir, expected a folder, or None to keep nothing.")
    recipe = Recipe(
        np.asarray(data),
        None if labels is None else np.asarray(labels),
        levels=levels,
        validation=validation,
        seed=seed,
        support=support if isinstance(support, str) else list(support),
    )
    dataset = array_dataset(recipe)
    batch_size = min(batch_size, len(dataset.train))
    if num_epochs is None:
        steps = max(1, len(dataset.train) // batch_size)
        num_epochs = max(NUM_EPOCHS, -(-NUM_STEPS // steps))
    config = make_config(
        dict(
            name=f"{dataset.name}/{model['name']}",
            title=model["name"],
            dataset=dict(name=dataset.name),
            model=model,
            optimizer=dict(learning_rate=learning_rate, schedule="cosine"),
            objective=objective,
            conditional=labels is not None,
            batch_size=batch_size,
            num_epochs=num_epochs,
            eval_every_epochs=max(1, -(-num_epochs // EVALUATIONS)),
            patience=patience or max(1, round(0.3 * num_epochs)),
            seed=seed,
        )
    )
    try:
        if workdir is None:
            with tempfile.TemporaryDirectory(prefix="flowzoo-") as folder:
                trained = train(config, dataset, folder)
        else:
            trained = train(config, dataset, workdir)
            save_array(recipe, workdir)
    except FloatingPointError as error:
        raise FloatingPointError(
            f"{str(error).split('. ')[0]}. A lower learning_rate= of fit usually helps; it was "
            f"{learning_rate}."
        ) from error
    raw = on_raw_data(trained.flow, dataset)
    raw.card = make_card(
        raw,
        name=model["name"],
        model=dict(model),
        seed=seed,
        dataset=dataset.name,
        num_parameters=num_parameters(raw),
        training={
            "command": "flowzoo.fit",
            "wall_seconds": round(trained.spent.seconds, 1),
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
        },
    )
    return raw


def _check_whole(name: str, value: object, least: int) -> None:
    optional = name in ("num_epochs", "patience", "levels")
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not (value is None and optional) and not (whole and value >= least):
        raise ValueError(f"fit got {name} {value!r}, expected a whole number from {least} on.")
