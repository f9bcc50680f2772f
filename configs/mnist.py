"""MNIST, 28 × 28 pixels, in the preprocessing and the split of the MAF paper.

    python -m flowzoo.train --config=configs/mnist.py

Measured on an AMD EPYC (CPU) that was shared with other work, on the test set:

    default    -994.82 ± 1.32 nats (1.329 bits/dim), 20 epochs, 16 minutes of one core
    :whitened  -1266.96 ± 1.55 nats (1.829 bits/dim), 60 epochs, 44 minutes of two cores

Published: -1375.2 ± 1.4 for the architecture of `:paper` and `:whitened` (Gresele et al. 2020),
-1038.5 ± 1.8 for MADE MoG, the best of the table of Papamakarios et al. 2017. `:paper` has the
paper's own random start; its result was not measured. The baselines follow the protocol of
Papamakarios et al. with two hidden layers of 1,024 units; they were not trained to the end.
"""

from flowzoo.training.baselines import baselines
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
        optimizer=dict(learning_rate=2e-3, schedule="cosine", dense_scale=0.1),
        num_epochs=20,
    ),
    "paper": dict(
        model=PAPER,
        optimizer=dict(learning_rate=1e-4),
        num_epochs=100,
    ),
    # The paper's architecture, started near the fitted Gaussian.
    "whitened": dict(
        model=PAPER | dict(center=1.5, whiten=True, init="identity"),
        optimizer=dict(learning_rate=1e-3, schedule="cosine"),
        num_epochs=60,
    ),
    **baselines((1024, 1024)),
    "real_nvp_image": dict(
        model=dict(
            name="real_nvp_image",
            image_shape=(28, 28, 1),
            num_scales=2,
            hidden_channels=32,
            num_blocks=4,
            batch_norm=True,
            conv1x1=False,
        ),
        optimizer=dict(learning_rate=1e-3, l2=5e-5),
        # Convolutions on a CPU take their time.
        smoke=dict(model=dict(hidden_channels=4, num_blocks=1), dataset=dict(limit=200)),
    ),
}


def get_config(argument=None):
    return choose(argument, MODELS, dataset=dict(name="mnist"))
