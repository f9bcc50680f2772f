"""Kinds of arrays that a model holds."""

from flax import nnx


class Constant(nnx.Variable):
    """An array that belongs to a model and is saved with it, but is never trained."""
