"""GAS: 8 gas sensors, 852,174 training rows.

    python -m flowzoo.train --config=configs/gas.py[:MODEL]

Published test log-likelihoods in nats, ± 2 standard errors:

    relative gradient   6.978 ± 0.020   (Gresele et al. 2020)
    Gaussian            -3.58 ± 0.75   (this and all below: Papamakarios et al. 2017)
    MADE                3.56 ± 0.04
    MADE MoG            8.47 ± 0.02
    Real NVP            4.78 ± 1.80 (5 layers), 8.33 ± 0.14 (10)
    MAF                 9.07 ± 0.02 (5 layers), 10.08 ± 0.02 (10)
    MAF MoG             9.59 ± 0.02 (5 layers)

Nothing was measured here: the data could not be fetched.

`:paper` has the base and the bias that Gresele et al. found best on this set; their other choices
are not known, these are those for MNIST. This searches them:

    python -m flowzoo.sweep --config=configs/gas.py:paper --sweep=paper

The baselines have two hidden layers of 100 units; the paper reports the better of one and two
layers on the validation set; for one: `--config.model.hidden_sizes="(100,)"`.
"""

from flowzoo.training.baselines import baselines
from flowzoo.training.config import choose

FLOW = dict(
    name="relative_gradient",
    num_layers=5,
    activation="spline",
    num_bins=16,
    bound=6.0,
    radial_groups=(),
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
    base="standard_normal",
    use_bias=True,
    whiten=False,
    init="orthogonal",
)

MODELS = {
    "relative_gradient": dict(
        model=FLOW,
        optimizer=dict(
            learning_rate=2e-3, schedule="cosine", dense_learning_rate=6e-4, clip_norm=30.0
        ),
        batch_size=1000,
        num_epochs=50,
    ),
    "paper": dict(model=PAPER, optimizer=dict(learning_rate=1e-4), num_epochs=100),
    **baselines((100, 100), activation="tanh"),
}


def get_config(argument=None):
    return choose(argument, MODELS, dataset=dict(name="gas"))
