"""CIFAR-10 from the PNG files in which it is mirrored, with the entries of `cifar10.py`.

    python -m flowzoo.train --config=configs/cifar10_png.py[:ENTRY]

The mirrors have lost the order of the original files: the test split is the published one, but the
training images that validate are a tenth by file name, `flowzoo.data.images` says which.

Measured on one core of an AMD EPYC (CPU) that was shared with other work, on the test set, in nats
of the logit space, beside the published numbers of Papamakarios et al. 2017:

    default                3582.1 ± 25.1 nats (4.059 bits/dim)   3 epochs, 28 minutes
    :glow                  4386.6 ± 25.4 nats (3.681 bits/dim)   8 epochs, 60 minutes
    :parallel_multiscale   3310.4 ± 26.5 nats (4.187 bits/dim)   1 epoch, batches of 20, 11 minutes
    Gaussian, closed form  2365.0   (2367 ± 29)
    published, MAF (10)             (3049 ± 26)

The Gaussian is fitted to the training images and their mirror images; it stands in the results of
every run.
"""

from flowzoo.configs.cifar10 import ENTRIES
from flowzoo.training.config import choose


def get_config(argument=None):
    return choose(argument, ENTRIES, name="cifar10_png", dataset=dict(name="cifar10_png"))
