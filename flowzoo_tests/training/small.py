"""A run small enough for tests, on real images."""

from ml_collections import config_dict

from flowzoo.training.config import changed, make_config

MODEL = dict(
    name="fully_connected",
    nonlinearity=dict(name="smooth_leaky_relu", center=1.5),
    whiten=True,
    init="identity",
)


def small_config(**keys) -> config_dict.ConfigDict:
    """The digits with 400 rows, 16 a batch: 25 steps an epoch."""
    config = make_config(
        dict(
            name="digits/small",
            title="Fully connected flow",
            dataset=dict(name="digits", limit=400),
            model=MODEL,
            batch_size=16,
            num_epochs=2,
        )
    )
    return changed(config, **keys)
