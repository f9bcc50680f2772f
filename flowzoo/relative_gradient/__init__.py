"""Exact maximum-likelihood training of unconstrained layers without a matrix inverse."""

from flowzoo.relative_gradient.fused import RULES, affine, log_abs_det

__all__ = ["RULES", "affine", "log_abs_det"]
