"""flowzoo: a Flax model zoo of normalizing flows. Forward is data → latent."""

import importlib

from flowzoo.flow import Flow
from flowzoo.zoo import build

__version__ = "0.1.0"

# Loaded when first used: most of them bring dataset and checkpoint libraries with them.
_LAZY = {
    "RawFlow": "flowzoo.raw_flow",
    "fit": "flowzoo.fitting",
    "list_pretrained": "flowzoo.pretrained",
    "load": "flowzoo.pretrained",
    "load_dataset": "flowzoo.data",
    "load_pretrained": "flowzoo.pretrained",
    "relative_gradient": "flowzoo.relative",
    "save": "flowzoo.pretrained",
    "save_pretrained": "flowzoo.pretrained",
    "scale_by_relative_gradient": "flowzoo.relative",
}

__all__ = ["Flow", "build", *_LAZY]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'flowzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
