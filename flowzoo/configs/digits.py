"""Digits: scikit-learn's 1,797 images of 8 × 8 pixels, inside the installed package.

    python -m flowzoo.train --config=configs/digits.py

Measured on the test set: the default has -81.366 ± 1.089 nats (2.013 bits/dim). Five seeds have
-81.366, -80.971, -80.869, -80.931 and -81.131, a mean of -81.05 and a standard deviation of 0.20,
each 7 s of training on two cores of an AMD EPYC (CPU), 34 s with much other work beside it. A
rounding of its splines moves it as much as a seed does: five seeds of a version that rounds
otherwise had a mean of -80.85, and the packaged model, of another one, has -81.033 ± 1.078. The
rates were chosen by validation among 14 pairs. Two seeds have -81.06 and -80.87 validation nats,
and with a third layer -80.80 and -80.76. With Adam in the place of relative Muon, at a rate of
3e-3, the test value was -82.672 ± 1.062, and -83.222 ± 1.030 without the divisive normalization.
`:whitened`, with the paper's fixed nonlinearity, has -88.295 ± 1.172; a full-covariance Gaussian
fitted to the same split has -93.193.

The other families' entries have a common rate of 1e-3 and 60 epochs. Most of them do better at 1e-2
and over 200 epochs: the Gaussianization flow of four maps, 24,576 parameters, then has -81.508 ±
1.100 nats in 13 minutes beside other work, 4 minutes of the processors; docs/results.md has the
commands.
"""

from flowzoo.configs.baselines import baselines
from flowzoo.configs.families import families
from flowzoo.training.config import choose

ENTRIES = {
    "learned": dict(
        title="Fully connected flow, learned maps",
        model=dict(
            name="fully_connected_learned",
            num_layers=2,
            after_dense=("radial", "divisive_normalization"),
        ),
        optimizer=dict(
            name="relative_muon",
            learning_rate=1e-2,
            dense_learning_rate=3e-2,
            schedule="cosine",
        ),
        parameter_average=0.99,
        num_epochs=100,
    ),
    # The paper's architecture, started near the fitted Gaussian.
    "whitened": dict(
        title="Fully connected flow, whitening start",
        model=dict(
            name="fully_connected",
            nonlinearity=dict(name="smooth_leaky_relu", center=1.5),
            whiten=True,
            init="identity",
        ),
        optimizer=dict(learning_rate=1e-2, schedule="cosine"),
        num_epochs=300,
        patience=300,
    ),
    **baselines((100,)),
    **families((64, 64), num_epochs=60),
}


def get_config(argument=None):
    return choose(argument, ENTRIES, name="digits", dataset=dict(name="digits"))
