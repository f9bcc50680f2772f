"""Fashion-MNIST, 28 × 28 pixels, with the entries, the split and the preprocessing of `mnist.py`.

    python -m flowzoo.train --config=configs/fashion_mnist.py[:ENTRY]

Measured on one core of an AMD EPYC (CPU) that was shared with other work, on the test set:

    default --config.num_epochs=4                -931.1 ± 5.2 nats (3.486 bits/dim)    5 minutes
    :paper --config.num_epochs=75               -1339.3 ± 3.6 nats (4.237 bits/dim)   16 minutes
    :whitened --config.num_epochs=30            -1236.4 ± 4.9 nats (4.048 bits/dim)    7 minutes
    :gaussian                                   -1336.7 ± 3.6 nats (4.232 bits/dim)
    :made,short --config.num_epochs=3           -1364.0 ± 4.8 nats (4.282 bits/dim)    9 minutes
    :maf5,short --config.num_epochs=6           -1094.5 ± 5.5 nats (3.787 bits/dim)   51 minutes
    :real_nvp5,short --config.num_epochs=6      -1068.3 ± 5.4 nats (3.738 bits/dim)   46 minutes
    :convolutional --config.model.padding=zeros --config.num_epochs=10
                                                 -869.5 ± 5.2 nats (3.372 bits/dim)   11 minutes
    :tarflow --config.num_epochs=6              -801.3 ± 5.3 nats (3.247 bits/dim)   15 minutes
    :parallel_multiscale --config.num_epochs=6   -789.2 ± 4.4 nats (3.225 bits/dim)   12 minutes

The other entries were not measured.
"""

from flowzoo.configs.mnist import ENTRIES
from flowzoo.training.config import choose


def get_config(argument=None):
    return choose(argument, ENTRIES, name="fashion_mnist", dataset=dict(name="fashion_mnist"))
