"""From an array to a trained flow, without a config."""

from flowzoo.fitting.fit import fit

__all__ = ["fit"]
