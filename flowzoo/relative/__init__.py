"""Exact maximum-likelihood training of unconstrained layers without a matrix inverse."""

from flowzoo.relative.fused import RULES, affine, log_abs_det
from flowzoo.relative.optax_transform import (
    relative_gradient,
    scale_by_relative_gradient,
)

__all__ = ["RULES", "affine", "log_abs_det", "relative_gradient", "scale_by_relative_gradient"]
