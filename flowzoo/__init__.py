"""flowzoo: a Flax model zoo of normalizing flows. Forward is data → latent."""

import importlib
from typing import TYPE_CHECKING

from flowzoo.flow import Flow
from flowzoo.zoo import build

if TYPE_CHECKING:  # what type checkers and editors see of the names below
    from flowzoo.data import load_dataset
    from flowzoo.fitting.fit import fit
    from flowzoo.pretrained import (
        list_pretrained,
        load,
        load_pretrained,
        save,
        save_pretrained,
    )
    from flowzoo.raw_flow import RawFlow
    from flowzoo.relative import relative_gradient, scale_by_relative_gradient

__version__ = "0.1.0"

# Loaded when first used: most of them bring dataset and checkpoint libraries with them.
_LAZY = {
    "RawFlow": "flowzoo.raw_flow",
    "fit": "flowzoo.fitting",
    "fit_to_density": "flowzoo.fitting",
    "list_pretrained": "flowzoo.pretrained",
    "load": "flowzoo.pretrained",
    "load_dataset": "flowzoo.data",
    "load_pretrained": "flowzoo.pretrained",
    "relative_gradient": "flowzoo.relative",
    "save": "flowzoo.pretrained",
    "save_pretrained": "flowzoo.pretrained",
    "scale_by_relative_gradient": "flowzoo.relative",
}

__all__ = [
    "Flow",
    "RawFlow",
    "build",
    "fit",
    "fit_to_density",
    "list_pretrained",
    "load",
    "load_dataset",
    "load_pretrained",
    "relative_gradient",
    "save",
    "save_pretrained",
    "scale_by_relative_gradient",
]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'flowzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING", "importlib"})
