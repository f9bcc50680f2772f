"""Nonlinear ICA by maximum likelihood: what the data have to be, and how the flow is made."""

from collections.abc import Mapping, Sequence
from typing import Any
import warnings

import numpy as np

from flowzoo import zoo
from flowzoo.context import ContextSpec, Features, Labels
from flowzoo.data.dataset import check_finite
from flowzoo.ica.starts import Stage, fit_starts
from flowzoo.ica.unmixing import Unmixing, check_mixtures

# What the maps between the layers are like at the start; starts take them in turn.
SHAPES = tuple(
    {"name": "slope_spline", "start": start} for start in ("outward", "identity", "right", "inward")
)
# Starts, and the steps of each: after a stage those with the best likelihood go on to the next.
STAGES = ((32, 600), (8, 1000), (2, 3000))


def fit(
    x: np.ndarray,
    u: np.ndarray | None = None,
    *,
    num_layers: int = 3,
    between: Any = SHAPES,
    family: str = "normal",
    model: Mapping[str, Any] | None = None,
    stages: Sequence[tuple[int, int]] = STAGES,
    batch_size: int = 1000,
    dense_learning_rate: float = 0.05,
    learning_rate: float = 1e-2,
    momentum: float = 0.9,
    c_ima_weight: float = 0.0,
    seed: int = 0,
) -> Unmixing:
    """Finds sources that are independent given u, whatever invertible mixing made x of them.

    The flow is the recipe `unmixing` of the zoo, trained by relative Muon (Adam for everything that
    is not a dense layer) on batches drawn with replacement, its rates rising for a tenth of a stage
    and falling to zero along a cosine. Likelihoods of nonlinear mixings have many local optima:
    many starts are trained side by side in one program, and those with the best likelihood of all
    data go on. A stage that lowers the likelihood of a start is undone, unless there is a penalty.
    The true sources take no part in that.

    Args:
      x: `[N, D]`, mixtures.
      u: the observed variable: class labels `[N]`, integers from 0 without gaps, or real features
        `[N, C]`. None: a flow without one, which finds some independent sources and not the true
        ones.
      num_layers: dense layers, as many as the mixing is thought to have, or more: of mixtures of
        four layers, a flow of eight ends nearer to the sources than one of four.
      between: the maps between them, as for the recipe `unmixing`: one record, or several that
        differ in their starting values alone, which the starts take in turn.
      family: of the sources given u, see `flowzoo.bases.ConditionalFactorial`.
      model: other options of the recipe.
      stages: pairs of how many starts and how many steps, the starts falling.
      batch_size: rows of a step, at most N.
      dense_learning_rate: of relative Muon, the relative length of a step.
      learning_rate: of Adam.
      momentum: of relative Muon.
      c_ima_weight: λ ≥ 0: `λ C_IMA`, the mean contrast of independent mechanisms of the mixing, is
        added to the mean negative log-likelihood; costs D³ a row.
      seed: of starting values and batches.

    Returns:
      The flow of the best start, fitted.

    Warns:
      UserWarning: if u is constant or left out: the sources are then not identified.

    Raises:
      ValueError: if the arrays are not as above, there are fewer rows than sources, a class has no
        rows, or an option is unknown or out of its range.
      FloatingPointError: if the likelihood of no start is finite.

    Example:
      >>> from flowzoo import ica
      >>> data = ica.generators.segments(0, dim=2, num_segments=10, per_segment=100, layers=1)
      >>> found = ica.fit(data.x, data.u, num_layers=1, stages=((2, 400),))
      >>> bool(ica.mcc(data.sources, found.sources(data.x)) > 0.99)
      True
    """
    x, u, context = check_data("fit", x, u)
    stages = [(int(starts), int(steps)) for starts, steps in stages]
    counts = [starts for starts, _ in stages]
    if not stages or min(min(stage) for stage in stages) < 1 or counts != sorted(counts)[::-1]:
        raise ValueError(
            f"fit got stages {stages}, expected pairs of a number of starts, which does not rise, "
            "and a number of steps."
        )
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("c_ima_weight", c_ima_weight, 0),
        ("learning_rate", learning_rate, 0),
        ("dense_learning_rate", dense_learning_rate, 0),
    ):
        if not value >= least:
            raise ValueError(f"fit got {name} {value}, expected at least {least}.")
    if not 0 <= momentum < 1:
        raise ValueError(f"fit got momentum {momentum}, expected a number in [0, 1).")
    records = [between] if isinstance(between, str | Mapping) or callable(between) else between
    options = {"name": "unmixing", "num_layers": num_layers, "family": family, **(model or {})}

    def builder(record):
        return lambda rngs: zoo.build(
            options | {"between": record}, x.shape[1:], context=context, rngs=rngs
        )

    return fit_starts(
        [builder(record) for record in records],
        x,
        u,
        stages=[
            Stage(*stage, batch_size, (dense_learning_rate, learning_rate)) for stage in stages
        ],
        momentum=momentum,
        c_ima_weight=c_ima_weight,
        seed=seed,
    )


def check_data(
    function: str, x: np.ndarray, u: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, ContextSpec | None]:
    """The arrays as float32 and int32 or float32, and what u is; see `fit` for what is refused."""
    x = check_mixtures(function, x)
    rows = len(x)
    x = x.astype(np.float32)
    if u is None:
        _warn("there is no u")
        return x, None, None
    u = np.asarray(u)
    if len(u) != rows if u.ndim else True:
        raise ValueError(
            f"{function} got {rows} rows of mixtures and u of shape {u.shape}, expected one u for "
            "each row: labels [N] or features [N, C]."
        )
    if np.all(u == u[:1]):
        _warn("u is the same in all rows")
    if u.ndim == 1 and np.issubdtype(u.dtype, np.integer):
        if u.min() < 0:
            raise ValueError(f"{function} got the label {u.min()} in u, expected labels from 0.")
        sizes = np.bincount(u)
        if np.any(sizes == 0):
            raise ValueError(
                f"{function} got u in which class {int(np.argmin(sizes))} of {len(sizes)} has no "
                "rows: number the classes 0 … K − 1 without gaps, e.g. by "
                "np.unique(u, return_inverse=True)[1]."
            )
        return x, u.astype(np.int32), Labels(len(sizes))
    if u.ndim == 2 and np.issubdtype(u.dtype, np.floating):
        check_finite(u, "u")
        return x, u.astype(np.float32), Features(u.shape[1])
    raise ValueError(
        f"{function} got u of shape {u.shape} and dtype {u.dtype}, expected integer class labels "
        f"[{rows}] or floating-point features [{rows}, C]."
    )


def _warn(why: str) -> None:
    warnings.warn(
        f"Nothing identifies the sources of a nonlinear mixing, because {why}: as many other "
        "independent sources have the same likelihood, and which of them is found is chance.",
        stacklevel=4,
    )
