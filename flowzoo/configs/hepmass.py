"""HEPMASS: 21 features of simulated particle collisions, 315,123 training rows.

    python -m flowzoo.train --config=configs/hepmass.py[:ENTRY]

Published test log-likelihoods in nats, ± 2 standard errors:

    relative gradient   -21.958 ± 0.019   (Gresele et al. 2020)
    Gaussian            -27.93 ± 0.02   (this and all below: Papamakarios et al. 2017)
    MADE                -20.98 ± 0.02
    MADE MoG            -15.15 ± 0.02
    Real NVP            -19.62 ± 0.02 (5 layers), -18.71 ± 0.02 (10)
    MAF                 -17.70 ± 0.02 (5 layers), -17.73 ± 0.02 (10)
    MAF MoG             -17.39 ± 0.02 (5 layers)

Nothing was measured here: the data could not be fetched.

`:paper` has the base and the bias that Gresele et al. found best on this set; their other choices
are not known, these are those for MNIST. This searches them:

    python -m flowzoo.sweep --config=configs/hepmass.py:paper --sweep=paper

The baselines have two hidden layers of 512 units; the paper reports the better of one and two
layers on the validation set; for one: `--config.model.hidden_sizes="(512,)"`.
"""

from flowzoo.configs.tabular import entries
from flowzoo.training.config import choose

ENTRIES = entries(
    (512, 512), batch_size=500, num_epochs=50, paper=dict(base="hyperbolic_secant", use_bias=False)
)


def get_config(argument=None):
    return choose(argument, ENTRIES, name="hepmass", dataset=dict(name="hepmass"))
