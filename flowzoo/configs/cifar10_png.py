"""CIFAR-10 from the PNG files in which it is mirrored, with the entries of `cifar10.py`.

    python -m flowzoo.train --config=configs/cifar10_png.py[:ENTRY]

The mirrors have lost the order of the original files: the test split is the published one, but the
training images that validate are a tenth by file name, `flowzoo.data.images` says which. Nothing
was measured here yet.
"""

from flowzoo.configs.cifar10 import ENTRIES
from flowzoo.training.config import choose


def get_config(argument=None):
    return choose(argument, ENTRIES, name="cifar10_png", dataset=dict(name="cifar10_png"))
