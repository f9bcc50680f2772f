"""Points of the planar densities, and how far samples are from them."""

from collections.abc import Sequence
import math

import numpy as np
import scipy.optimize

from flowzoo.data.toy import TOYS


def standardized(toys: Sequence[str], count: int, *, seed: int) -> np.ndarray:
    """`[toys, count, 2]`, float32, each coordinate of each set with mean 0 and variance 1."""
    rng = np.random.default_rng(seed)
    points = np.stack([TOYS[toy](rng, count) for toy in toys])
    points -= points.mean(1, keepdims=True)
    return (points / points.std(1, keepdims=True)).astype(np.float32)


def wasserstein(x: np.ndarray, y: np.ndarray) -> float:
    """The Wasserstein-2 distance of two samples `[N, D]`, by exact assignment.

    Infinite if a number in x is not finite.
    """
    if not np.isfinite(x).all():
        return math.inf
    costs = ((x[:, None].astype(np.float64) - y[None]) ** 2).sum(-1)
    rows, columns = scipy.optimize.linear_sum_assignment(costs)
    return float(np.sqrt(costs[rows, columns].mean()))
