"""GAS: 8 gas sensors, 852,174 training rows.

    python -m flowzoo.train --config=configs/gas.py[:ENTRY]

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

from flowzoo.configs.tabular import entries
from flowzoo.training.config import choose

ENTRIES = entries((100, 100), batch_size=1000, num_epochs=50, activation="tanh")


def get_config(argument=None):
    return choose(argument, ENTRIES, name="gas", dataset=dict(name="gas"))
