"""Digits: scikit-learn's 1,797 images of 8 × 8 pixels, inside the installed package."""

from flowzoo.training.config import default_config, parse_argument

MODELS = {
    "relative_gradient": dict(
        name="relative_gradient",
        num_layers=2,
        activation="smooth_leaky_relu",
        base="standard_normal",
        use_bias=True,
        init="whiten",
    ),
}


def get_config(argument=None):
    model, flags = parse_argument(argument, MODELS)
    config = default_config()
    config.dataset.name = "digits"
    config.model = MODELS[model]
    config.conditional = "conditional" in flags
    config.optimizer.learning_rate = 1e-3
    config.batch_size = 100
    config.num_epochs = 300
    if "smoke" in flags:
        config.num_epochs = 2
    return config
