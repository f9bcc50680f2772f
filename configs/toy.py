"""Two-dimensional toy densities; the argument names one: configs/toy.py:moons."""

from flowzoo.training.config import choose

MODEL = dict(
    name="relative_gradient",
    num_layers=20,
    activation="smooth_leaky_relu",
    alpha=0.3,
    center=0.0,
    base="standard_normal",
    use_bias=True,
    whiten=True,
    init="orthogonal",
)

TOYS = (
    "moons",
    "mixture_of_gaussians",
    "sine",
    "eight_gaussians",
    "smile",
    "two_spirals",
    "checkerboard",
    "rings",
)


def get_config(argument=None):
    models = {toy: dict(dataset=dict(name=f"toy/{toy}")) for toy in TOYS}
    return choose(
        argument,
        models,
        model=MODEL,
        optimizer=dict(learning_rate=5e-3, schedule="cosine"),
        num_epochs=300,
        patience=300,
    )
