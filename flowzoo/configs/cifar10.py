"""CIFAR-10, 32 × 32 colour pixels, in the preprocessing and the split of the MAF paper.

    python -m flowzoo.train --config=configs/cifar10.py[:ENTRY]

`z = logit(0.05 + 0.9 (x + u)/256)`; training images are mirrored left to right with probability
1/2; the last 5,000 training images validate. Results are in nats of the logit space and in bits per
dimension of the pixels. What was measured stands in `cifar10_png.py`: the original files could not
be fetched.

The baselines follow the protocol of Papamakarios et al. 2017 with random degrees and two hidden
layers of 1,024 units; the paper tries 2,048 and one layer too.
"""

from flowzoo.configs import mnist
from flowzoo.configs.baselines import (
    baselines,
    glow,
    parallel_multiscale,
    real_nvp_image,
    tarflow,
)
from flowzoo.training.config import choose

ENTRIES = {
    # Divisive normalization from both sides, for the contrast of a pixel's surroundings: behind the
    # whitening each coordinate belongs to a place in the image.
    "learned": mnist.ENTRIES["divisive"]
    | dict(title="Fully connected flow, learned maps", batch_size=250, num_epochs=3),
    "paper": mnist.ENTRIES["paper"],
    **baselines((1024, 1024), degrees="random"),
    "real_nvp_image": real_nvp_image((32, 32, 3)),
    # Two blocks of 64 channels take four times as long.
    "glow": glow(
        (32, 32, 3),
        learning_rate=2e-3,
        num_scales=3,
        hidden_channels=32,
        num_blocks=1,
        positions=True,
        input_bound=3.0,
        pixel_map="spline",
        batch_size=25,
        num_epochs=8,
    ),
    "parallel_multiscale": parallel_multiscale(
        (32, 32, 3),
        alpha=0.05,
        num_bins=64,
        num_scales=3,
        hidden_channels=24,
        hidden_sizes=(128, 128),
        num_components=5,
    ),
    "tarflow": tarflow((32, 32, 3)),
}


def get_config(argument=None):
    return choose(argument, ENTRIES, name="cifar10", dataset=dict(name="cifar10"))
