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
import functools
from typing import Any

from ml_collections import config_dict

from flowzoo.training.config import changed, smoke


def short(config: config_dict.ConfigDict, **keys: Any) -> config_dict.ConfigDict:
    """The same model trained in minutes; `keys` where a dataset or model needs other values."""
    ours = dict(
        model=dict(standardize=True),
        optimizer=dict(learning_rate=1e-3, schedule="cosine"),
        parameter_average=0.998,
        num_epochs=8,
    )
    return changed(changed(config, **ours), **keys)


def baselines(
    hidden_sizes: Sequence[int],
    activation: str = "relu",
    degrees: str = "sequential",
    **in_short: Any,
) -> dict[str, dict[str, Any]]:
    """For `flowzoo.training.config.choose`: what each baseline changes in the default config.

    Args:
      hidden_sizes: of every network.
      activation: of the autoregressive networks; Real NVP's are tanh (scale) and ReLU (shift).
      degrees: of the autoregressive networks' hidden units.
      **in_short: keys in which a short run on this dataset differs from other short runs.
    """
    coupling = dict(hidden_sizes=tuple(hidden_sizes))
    masked = coupling | dict(activation=activation, degrees=degrees)

    def protocol(title: str, learning_rate: float, name: str, **model: Any) -> dict[str, Any]:
        return dict(
            title=title,
            model=dict(name=name, **model),
            optimizer=dict(learning_rate=learning_rate, l2=1e-6),
            num_epochs=1000,
            short=functools.partial(short, **in_short),
        )

    return {
        # Fitted in closed form before the first step, which is never taken.
        "gaussian": dict(title="Gaussian", model="gaussian", num_epochs=0),
        "made": protocol("MADE", 1e-3, "made", **masked),
        "made_mog": protocol("MADE MoG", 1e-3, "made_mog", **masked),
        "real_nvp5": protocol("Real NVP (5)", 1e-4, "real_nvp", num_layers=5, **coupling),
        "real_nvp10": protocol("Real NVP (10)", 1e-4, "real_nvp", num_layers=10, **coupling),
        "maf5": protocol("MAF (5)", 1e-4, "maf", num_layers=5, **masked),
        "maf10": protocol("MAF (10)", 1e-4, "maf", num_layers=10, **masked),
        "maf_mog5": protocol("MAF MoG (5)", 1e-4, "maf_mog", num_layers=5, **masked),
    }


# Of deep models of images, whose gradients are large at first.
IMAGES = dict(schedule="cosine", warmup_steps=100, clip_norm=100.0)


def _smallest(config: config_dict.ConfigDict, **model: Any) -> config_dict.ConfigDict:
    """The smoke run of a model of images: convolutions on a CPU take their time."""
    networks = dict(hidden_channels=4, num_blocks=1, **model)
    return changed(smoke(config), model=networks, dataset=dict(limit=200))


def real_nvp_image(image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """As `baselines`, the multi-scale Real NVP; its short run has smaller networks, for CPUs."""

    def smaller(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
        return short(config, model=dict(hidden_channels=16, num_blocks=2), num_epochs=4)

    return dict(
        title="Real NVP on images",
        model=dict(name="real_nvp_image", image_shape=image_shape),
        optimizer=dict(learning_rate=1e-3, l2=5e-5),
        short=smaller,
        smoke=_smallest,
    )


def glow(
    image_shape: tuple[int, int, int],
    learning_rate: float = 1e-3,
    batch_size: int = 50,
    num_epochs: int = 10,
    **model: Any,
) -> dict[str, Any]:
    """As `baselines`, Glow with small networks; `model` are options that differ."""

    return dict(
        title="Glow",
        model=dict(name="glow", image_shape=image_shape, **model),
        optimizer=IMAGES | dict(learning_rate=learning_rate),
        parameter_average=0.998,
        batch_size=batch_size,
        num_epochs=num_epochs,
        smoke=functools.partial(_smallest, num_steps=1),
    )


def convolutional(image_shape: tuple[int, int, int], **model: Any) -> dict[str, Any]:
    """As `baselines`, nine convolutions and splines; `model` are options that differ."""

    def smallest(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
        return changed(smoke(config), model=dict(num_layers=1), dataset=dict(limit=200))

    return dict(
        title="Convolutional flow (9)",
        model=dict(name="convolutional", image_shape=image_shape, standardize=True, **model),
        optimizer=dict(learning_rate=1e-3, schedule="cosine"),
        num_epochs=20,
        smoke=smallest,
    )


def tarflow(image_shape: tuple[int, int, int], **model: Any) -> dict[str, Any]:
    """As `baselines`, TarFlow with small transformers; `model` are options that differ."""

    def smallest(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
        tiny = dict(num_flows=1, num_layers=1, width=8, num_heads=2)
        return changed(smoke(config), model=tiny, dataset=dict(limit=200))

    return dict(
        title="TarFlow",
        model=dict(name="tarflow", image_shape=image_shape, standardize=True, **model),
        optimizer=IMAGES | dict(learning_rate=2e-3),
        parameter_average=0.998,
        num_epochs=14,
        smoke=smallest,
    )


def parallel_multiscale(image_shape: tuple[int, int, int], **model: Any) -> dict[str, Any]:
    """As `baselines`, groups of pixels given coarser ones; `model` are options that differ."""

    return dict(
        title="Parallel multiscale flow",
        model=dict(name="parallel_multiscale", image_shape=image_shape, **model),
        optimizer=IMAGES | dict(learning_rate=2e-3),
        parameter_average=0.998,
        num_epochs=20,
        smoke=functools.partial(_smallest, hidden_sizes=(32,)),
    )
