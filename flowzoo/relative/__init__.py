"""Exact maximum-likelihood training of unconstrained layers without a matrix inverse."""

from flowzoo.relative.fused import RULES, affine, log_abs_det
from flowzoo.relative.optax_transform import (
    relative_gradient,
    scale_by_relative_gradient,
)
from flowzoo.relative.trust_region import limit_relative_change

__all__ = [
    "RULES",
    "affine",
    "limit_relative_change",
    "log_abs_det",
    "relative_gradient",
    "scale_by_relative_gradient",
]
