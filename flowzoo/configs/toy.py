"""Two-dimensional toy densities; the argument names one, and a family if it is another.

    python -m flowzoo.train --config=configs/toy.py:moons[_nsf_coupling]

Measured on the test sets, in nats, 4 to 6 seconds each on two cores of an AMD EPYC (CPU): moons
-0.339 ± 0.073, sine -1.457 ± 0.067, mixture_of_gaussians -3.01 ± 0.12. `results/toy` has them all.
"""

from flowzoo.configs.families import families
from flowzoo.training.config import choose

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
ENTRIES = {toy: dict(dataset=dict(name=f"toy/{toy}")) for toy in TOYS} | {
    f"{toy}_{family}": keys | dict(dataset=dict(name=f"toy/{toy}"))
    for toy in TOYS
    for family, keys in families((64, 64)).items()
}


def get_config(argument=None):
    return choose(
        argument,
        ENTRIES,
        name="toy",
        title="Fully connected flow, learned maps",
        model=dict(
            name="fully_connected_learned",
            num_layers=8,
            inner=dict(name="spline", bound=4.0, init="identity"),
            init="orthogonal",
        ),
        optimizer=dict(learning_rate=1e-2, schedule="cosine", dense_learning_rate=3e-3),
        num_epochs=100,
        patience=100,
    )
