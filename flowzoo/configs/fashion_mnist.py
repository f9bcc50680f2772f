"""Fashion-MNIST, 28 × 28 pixels, with the entries, the split and the preprocessing of `mnist.py`.

    python -m flowzoo.train --config=configs/fashion_mnist.py[:ENTRY]

Nothing was measured here yet.
"""

from flowzoo.configs.mnist import ENTRIES
from flowzoo.training.config import choose


def get_config(argument=None):
    return choose(argument, ENTRIES, name="fashion_mnist", dataset=dict(name="fashion_mnist"))
