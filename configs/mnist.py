"""MNIST."""

from flowzoo.training.config import choose

MODELS = {
    "paper": dict(
        model=dict(
            name="relative_gradient",
            num_layers=2,
            activation="smooth_leaky_relu",
            alpha=0.01,
            center=0.0,
            base="standard_normal",
            use_bias=True,
            init="orthogonal",
        ),
        optimizer=dict(learning_rate=1e-4),
        num_epochs=100,
    ),
}


def get_config(argument=None):
    return choose(argument, MODELS, dataset=dict(name="mnist"))
