"""From an array, or a density, to a trained flow, without a config."""

from flowzoo.fitting.density import fit_to_density
from flowzoo.fitting.fit import fit

__all__ = ["fit", "fit_to_density"]
