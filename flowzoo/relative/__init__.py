"""Exact maximum-likelihood training of unconstrained layers without a matrix inverse."""

from flowzoo.relative.adam import relative_adam, scale_by_relative_adam
from flowzoo.relative.fused import RULES, affine, log_abs_det
from flowzoo.relative.muon import relative_muon, scale_by_relative_muon
from flowzoo.relative.optax_transform import (
    relative_gradient,
    scale_by_relative_gradient,
)
from flowzoo.relative.perturbations import from_perturbations, to_perturbations
from flowzoo.relative.spectrum import orthogonalize
from flowzoo.relative.trust_region import limit_relative_change

__all__ = [
    "RULES",
    "affine",
    "from_perturbations",
    "limit_relative_change",
    "log_abs_det",
    "orthogonalize",
    "relative_adam",
    "relative_gradient",
    "relative_muon",
    "scale_by_relative_adam",
    "scale_by_relative_gradient",
    "scale_by_relative_muon",
    "to_perturbations",
]
