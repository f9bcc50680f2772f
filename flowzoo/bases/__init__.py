"""Base distributions: what the latents are distributed as. Log-densities are in nats."""

from flowzoo.bases.autoregressive import MixtureMADE
from flowzoo.bases.base import Base
from flowzoo.bases.bounded import TruncatedNormal, Uniform, UniformCircle
from flowzoo.bases.conditional import ConditionalFactorial
from flowzoo.bases.factorial import (
    FACTORIAL,
    Factorial,
    HyperbolicSecant,
    Laplace,
    Logistic,
    StandardNormal,
)
from flowzoo.bases.hidden_markov import HiddenMarkov
from flowzoo.bases.mixture import MixtureOfGaussians
from flowzoo.bases.student_t import StudentT

__all__ = [
    "FACTORIAL",
    "Base",
    "ConditionalFactorial",
    "Factorial",
    "HiddenMarkov",
    "HyperbolicSecant",
    "Laplace",
    "Logistic",
    "MixtureMADE",
    "MixtureOfGaussians",
    "StandardNormal",
    "StudentT",
    "TruncatedNormal",
    "Uniform",
    "UniformCircle",
]
