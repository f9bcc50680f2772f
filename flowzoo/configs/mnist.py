"""MNIST, 28 × 28 pixels, in the preprocessing and the split of the MAF paper.

    python -m flowzoo.train --config=configs/mnist.py

Measured on one core of an AMD EPYC (CPU) that was shared with other work, on the test set, beside
the published numbers of Gresele et al. 2020 (the fully connected flow) and of Papamakarios et al.
2017 (the baselines):

    default               -994.8 ± 1.3 nats (1.329 bits/dim)   20 epochs, 16 minutes
    :divisive            -973.0 ± 1.3 nats (1.288 bits/dim)   20 epochs, 12 minutes of a core
    :unfolded            -934.8 ± 1.3 nats (1.218 bits/dim)   6 epochs, 7 minutes of a core
    :paper               -1370.4 ± 1.4   (-1375.2 ± 1.4)       100 epochs, 14 minutes
    :whitened            -1267.0 ± 1.6   (-1375.2 ± 1.4)       60 epochs, 44 minutes of two cores
    :gaussian            -1366.7 ± 1.4   (-1366.9 ± 1.4)
    :made,short          -1346.4 ± 1.8   (-1380.8 ± 4.8)       20 epochs, 5 minutes
    :made_mog,short      -1042.5 ± 1.8   (-1038.5 ± 1.8)       8 epochs, 45 minutes
    :real_nvp5,short     -1255.2 ± 1.3   (-1323.2 ± 6.6)       7 epochs, 13 minutes
    :real_nvp10,short    -1249.2 ± 1.6   (-1370.7 ± 10.1)      5 epochs, batches of 250, 21 minutes
    :maf5,short          -1292.1 ± 1.5   (-1300.5 ± 1.7)       7 epochs, 12 minutes
    :maf10,short         -1298.9 ± 1.5   (-1313.1 ± 2.0)       5 epochs, batches of 250, 27 minutes
    :real_nvp_image,short -976.3 ± 1.3 nats (1.294 bits/dim)   4 epochs, 44 minutes
    :parallel_multiscale -841.4 ± 1.2 nats (1.046 bits/dim)   20 epochs, 49 minutes
    :glow                -876.6 ± 1.2 nats (1.111 bits/dim)   8 epochs, 52 minutes with a pause
    :tarflow             -912.4 ± 1.3 nats (1.177 bits/dim)   14 epochs, 39 minutes
    :convolutional       -1061.3 ± 1.4 nats (1.451 bits/dim)   2 epochs, 19 minutes
    :convolutional --config.model.padding=zeros --config.num_epochs=20
                          -940.9 ± 1.3 nats (1.229 bits/dim)   20 minutes of a core
    :maf_mog5,short      -1084.0 ± 1.7   (-1100.3 ± 1.6)       5 epochs, batches of 250, 33 minutes

Where the epochs or the batch are not the config's, `--config.num_epochs=7` or
`--config.batch_size=250` sets them. `:paper` has the paper's own random start, `:whitened` one near
the fitted Gaussian. Without `short` the baselines follow the protocol of Papamakarios et al., here
with two hidden layers of 1,024 units; so they were not trained.
"""

from flowzoo.configs.baselines import (
    baselines,
    convolutional,
    glow,
    parallel_multiscale,
    real_nvp_image,
    tarflow,
)
from flowzoo.training.config import choose

ENTRIES = {
    "learned": dict(
        title="Fully connected flow, learned maps",
        model=dict(name="fully_connected_learned", num_layers=2, after_dense=("radial",)),
        optimizer=dict(learning_rate=2e-3, schedule="cosine", dense_learning_rate=2e-4),
        num_epochs=20,
    ),
    "paper": dict(
        title="Fully connected flow",
        model="fully_connected",
        optimizer=dict(learning_rate=1e-4),
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
        optimizer=dict(learning_rate=1e-3, schedule="cosine"),
        num_epochs=60,
    ),
    # Also each coordinate's scale given the energies of those before and behind it.
    "divisive": dict(
        title="Fully connected flow, learned maps and divisive normalization",
        model=dict(
            name="fully_connected_learned",
            num_layers=2,
            after_dense=("radial", "divisive_normalization"),
            after_map=(dict(name="divisive_normalization", reverse=True),),
        ),
        optimizer=dict(learning_rate=2e-3, schedule="cosine", dense_learning_rate=2e-4),
        num_epochs=20,
    ),
    # Dense layers that start as trained convolutions with zeros around the image: see
    # `flowzoo.zoo.unfolded` and docs/guides/images.md, which makes the file to start from.
    "unfolded": dict(
        title="Fully connected flow, unfolded from convolutions",
        model=dict(
            name="fully_connected_learned",
            num_layers=9,
            outer=dict(name="spline", init="identity"),
            whiten=False,
            standardize=True,
        ),
        optimizer=dict(
            learning_rate=5e-4, schedule="cosine", dense_learning_rate=2e-5, warmup_steps=200
        ),
        parameter_average=0.998,
        batch_size=250,
        num_epochs=6,
    ),
    **baselines((1024, 1024)),
    "real_nvp_image": real_nvp_image((28, 28, 1)),
    # Digits have their place, and behind the logit black pixels have a long tail.
    "glow": glow(
        (28, 28, 1),
        learning_rate=2e-3,
        num_steps=4,
        hidden_channels=32,
        num_blocks=1,
        coupling=dict(name="spline"),
        positions=True,
        pixel_map="spline",
    ),
    "parallel_multiscale": parallel_multiscale((28, 28, 1)),
    "convolutional": convolutional((28, 28, 1)),
    "tarflow": tarflow((28, 28, 1), interleaved=True, pixel_map="spline"),
}


def get_config(argument=None):
    return choose(argument, ENTRIES, name="mnist", dataset=dict(name="mnist"))
