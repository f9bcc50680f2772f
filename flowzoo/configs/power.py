"""POWER: electric power consumption of a household, 6 columns, 1,659,917 training rows.

    python -m flowzoo.train --config=configs/power.py[:ENTRY]

Published test log-likelihoods in nats, ± 2 standard errors:

    relative gradient   0.065 ± 0.013   (Gresele et al. 2020)
    Gaussian            -7.74 ± 0.02   (this and all below: Papamakarios et al. 2017)
    MADE                -3.08 ± 0.03
    MADE MoG            0.40 ± 0.01
    Real NVP            -0.02 ± 0.01 (5 layers), 0.17 ± 0.01 (10)
    MAF                 0.14 ± 0.01 (5 layers), 0.24 ± 0.01 (10)
    MAF MoG             0.30 ± 0.01 (5 layers)

Nothing was measured here: the data could not be fetched.

`:paper` has the base and the bias that Gresele et al. found best on this set; their other choices
are not known, these are those for MNIST. This searches them:

    python -m flowzoo.sweep --config=configs/power.py:paper --sweep=paper

The baselines have two hidden layers of 100 units; the paper reports the better of one and two
layers on the validation set; for one: `--config.model.hidden_sizes="(100,)"`.
"""

from flowzoo.configs.tabular import entries
from flowzoo.training.config import choose

ENTRIES = entries((100, 100), batch_size=1000, num_epochs=50)


def get_config(argument=None):
    return choose(argument, ENTRIES, name="power", dataset=dict(name="power"))
