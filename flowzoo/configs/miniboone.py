"""MINIBOONE: 43 features of electron neutrinos, 29,556 training rows.

    python -m flowzoo.train --config=configs/miniboone.py[:ENTRY]

Published test log-likelihoods in nats, ± 2 standard errors:

    relative gradient   -13.372 ± 0.450   (Gresele et al. 2020)
    Gaussian            -37.24 ± 1.07   (this and all below: Papamakarios et al. 2017)
    MADE                -15.59 ± 0.50
    MADE MoG            -12.27 ± 0.47
    Real NVP            -13.55 ± 0.49 (5 layers), -13.84 ± 0.52 (10)
    MAF                 -11.75 ± 0.44 (5 layers), -12.24 ± 0.45 (10)
    MAF MoG             -11.68 ± 0.44 (5 layers)

Nothing was measured here: the data could not be fetched.

`:paper` has the base and the bias that Gresele et al. found best on this set; their other choices
are not known, these are those for MNIST. This searches them:

    python -m flowzoo.sweep --config=configs/miniboone.py:paper --sweep=paper

The baselines have two hidden layers of 512 units; the paper reports the better of one and two
layers on the validation set; for one: `--config.model.hidden_sizes="(512,)"`.
"""

from flowzoo.configs.tabular import entries
from flowzoo.training.config import choose

ENTRIES = entries((512, 512), batch_size=100, num_epochs=100)


def get_config(argument=None):
    return choose(argument, ENTRIES, name="miniboone", dataset=dict(name="miniboone"))
