"""CIFAR-10, 32 × 32 colour pixels, in the preprocessing and the split of the MAF paper.

    python -m flowzoo.train --config=configs/cifar10.py[:ENTRY]

`z = logit(0.05 + 0.9 (x + u)/256)`; training images are mirrored left to right with probability
1/2; the last 5,000 training images validate. Results are in nats of the logit space and in bits per
dimension of the pixels. Nothing was measured here: the data could not be fetched.

The baselines follow the protocol of Papamakarios et al. 2017 with random degrees and two hidden
layers of 1,024 units; the paper tries 2,048 and one layer too.
"""

from flowzoo.configs import mnist
from flowzoo.configs.baselines import baselines, glow, real_nvp_image
from flowzoo.training.config import choose

ENTRIES = {
    **{entry: mnist.ENTRIES[entry] for entry in ("learned", "paper")},
    **baselines((1024, 1024), degrees="random"),
    "real_nvp_image": real_nvp_image((32, 32, 3)),
    "glow": glow((32, 32, 3), num_scales=3),
}


def get_config(argument=None):
    return choose(argument, ENTRIES, name="cifar10", dataset=dict(name="cifar10"))
