"""Base distributions: what the latents are distributed as. Log-densities are in nats."""

from flowzoo.bases.autoregressive import MixtureMADE
from flowzoo.bases.base import Base
from flowzoo.bases.factorial import (
    FACTORIAL,
    Factorial,
    HyperbolicSecant,
    Laplace,
    Logistic,
    StandardNormal,
)
from flowzoo.bases.mixture import MixtureOfGaussians

__all__ = [
    "FACTORIAL",
    "Base",
    "Factorial",
    "HyperbolicSecant",
    "Laplace",
    "Logistic",
    "MixtureMADE",
    "MixtureOfGaussians",
    "StandardNormal",
]
