"""The baselines of the MAF paper's tables, with its protocol, for the configs to choose from.

Source: Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation",
NeurIPS 2017, arXiv 1705.07057: batches of 100, Adam, L2 weight 1e-6 on the networks' weights,
patience of 30 epochs, 10 mixture components, the order reversed and batch
normalisation between layers.

The flag `short` of a config is ours: standardised inputs, a rate of 1e-3 that a cosine takes to
zero over a few epochs, and averaged parameters. On MNIST they come within 4 nats of the published
numbers or beyond them, on BSDS300 within 3, in minutes to an hour of a CPU.
"""

from collections.abc import Sequence
from typing import Any

SHORT = dict(
    model=dict(standardize=True),
    optimizer=dict(learning_rate=1e-3, schedule="cosine"),
    parameter_average=0.998,
    num_epochs=8,
)


def baselines(
    hidden_sizes: Sequence[int],
    activation: str = "relu",
    degrees: str = "sequential",
    **short: Any,
) -> dict[str, dict[str, Any]]:
    """For `flowzoo.training.config.choose`: what each baseline changes in the default config.

    Args:
      hidden_sizes: of every network.
      activation: of the autoregressive networks; Real NVP's are tanh (scale) and ReLU (shift).
      degrees: of the autoregressive networks' hidden units.
      **short: keys in which a short run on this dataset differs from other short runs.
    """
    network = dict(hidden_sizes=tuple(hidden_sizes), activation=activation)
    masked = network | dict(degrees=degrees, residual=False, standardize=False)
    stacked = masked | dict(batch_norm=True, inverse_method="sequential")
    coupling = dict(
        name="real_nvp", hidden_sizes=tuple(hidden_sizes), batch_norm=True, standardize=False
    )

    short = SHORT | short

    def protocol(learning_rate: float, **model) -> dict[str, Any]:
        optimizer = dict(learning_rate=learning_rate, l2=1e-6)
        return dict(model=model, optimizer=optimizer, num_epochs=1000, short=short)

    return {
        # Fitted in closed form before the first step, which is where it stays.
        "gaussian": dict(
            model=dict(name="gaussian"), optimizer=dict(learning_rate=0.0), num_epochs=1
        ),
        "made": protocol(1e-3, name="made", **masked, inverse_method="sequential"),
        "made_mog": protocol(1e-3, name="made_mog", num_components=10, **masked),
        "real_nvp5": protocol(1e-4, num_layers=5, **coupling),
        "real_nvp10": protocol(1e-4, num_layers=10, **coupling),
        "maf5": protocol(1e-4, name="maf", num_layers=5, **stacked),
        "maf10": protocol(1e-4, name="maf", num_layers=10, **stacked),
        "maf_mog5": protocol(1e-4, name="maf_mog", num_layers=5, num_components=10, **stacked),
    }


def real_nvp_image(image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """As `baselines`, the multi-scale Real NVP; its short run has smaller networks, for CPUs."""
    return dict(
        model=dict(
            name="real_nvp_image",
            image_shape=image_shape,
            num_scales=2,
            hidden_channels=32,
            num_blocks=4,
            batch_norm=True,
            conv1x1=False,
        ),
        optimizer=dict(learning_rate=1e-3, l2=5e-5),
        short=SHORT | dict(model=dict(hidden_channels=16, num_blocks=2), num_epochs=4),
        # Convolutions on a CPU take their time.
        smoke=dict(model=dict(hidden_channels=4, num_blocks=1), dataset=dict(limit=200)),
    )
