"""CIFAR-10, 32 × 32 colour pixels, in the preprocessing and the split of the MAF paper.

    python -m flowzoo.train --config=configs/cifar10.py[:MODEL]

`z = logit(0.05 + 0.9 (x + u)/256)`; training images are mirrored left to right with probability
1/2; the last 5,000 training images validate. Results are in nats of the logit space and in bits per
dimension of the pixels. Nothing was measured here: the data could not be fetched.

The baselines follow the protocol of Papamakarios et al. 2017 with random degrees and two hidden
layers of 1,024 units; the paper tries 2,048 and one layer too.
"""

from flowzoo.training.baselines import baselines, real_nvp_image
from flowzoo.training.config import choose

FLOW = dict(
    name="relative_gradient",
    num_layers=2,
    activation="spline",
    num_bins=16,
    bound=6.0,
    radial_groups=(1,),
    divisive=0,
    base="standard_normal",
    use_bias=True,
    whiten=True,
    gaussianize=True,
    init="identity",
)

PAPER = dict(
    name="relative_gradient",
    num_layers=2,
    activation="smooth_leaky_relu",
    alpha=0.01,
    center=0.0,
    base="standard_normal",
    use_bias=True,
    whiten=False,
    init="orthogonal",
)

MODELS = {
    "relative_gradient": dict(
        model=FLOW,
        optimizer=dict(learning_rate=2e-3, schedule="cosine", dense_learning_rate=2e-4),
        num_epochs=20,
    ),
    "paper": dict(
        model=PAPER,
        optimizer=dict(learning_rate=1e-4),
        num_epochs=100,
    ),
    **baselines((1024, 1024), degrees="random"),
    "real_nvp_image": real_nvp_image((32, 32, 3)),
}


def get_config(argument=None):
    return choose(argument, MODELS, dataset=dict(name="cifar10"))
