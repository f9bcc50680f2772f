"""A run small enough for tests, on real images."""

from ml_collections import config_dict

from flowzoo.training.config import choose

MODEL = dict(
    name="relative_gradient",
    num_layers=2,
    activation="smooth_leaky_relu",
    center=1.5,
    whiten=True,
    init="identity",
)


def small_config(**keys) -> config_dict.ConfigDict:
    """The digits with 400 rows, 16 a batch: 25 steps an epoch."""
    config = choose(
        None, {"flow": dict(model=MODEL)}, dataset=dict(name="digits", limit=400), batch_size=16
    )
    config.num_epochs = 2
    config.update(keys)
    return config
