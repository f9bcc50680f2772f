"""Independent component analysis, linear and nonlinear, by exact maximum likelihood."""

from flowzoo.data import mixing as generators
from flowzoo.ica.linear import fit_linear
from flowzoo.ica.nonlinear import fit
from flowzoo.ica.unmixing import Unmixing
from flowzoo.numerics.separation import Matching, amari, c_ima, match, mcc

__all__ = [
    "Matching",
    "Unmixing",
    "amari",
    "c_ima",
    "fit",
    "fit_linear",
    "generators",
    "match",
    "mcc",
]
