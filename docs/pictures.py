"""Draws the pictures of the packaged models: `python docs/pictures.py [NAME ...]`.

Samples of images, patches of photographs, densities on the plane, sources of mixtures beside those
that were found, and the filters of linear ICA, each into `docs/images/models/<name>.png`; without
names all that are missing, and the picture of the README, `docs/images/toys.png`.

`--noise_std` takes the Gaussian noise of a model's training out of its samples, and `--guidance`
strengthens their labels; the pictures are then `<name>_denoised.png`, `<name>_guided.png` or
`<name>_denoised_guided.png`.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

import flowzoo
from flowzoo import ica
from flowzoo.transforms import guided

IMAGES = pathlib.Path(__file__).parent / "images"
# Legible on a light and on a dark page; the background is transparent.
GREY = "#888888"
MAP = "magma"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--noise_std", type=float, default=0.0)
    parser.add_argument("--guidance", type=float)
    given = parser.parse_args()
    names = given.names
    suffix = "_denoised" * (given.noise_std > 0) + "_guided" * (given.guidance is not None)
    if suffix and not names:
        parser.error("--noise_std and --guidance are of models that are named.")
    entries = flowzoo.list_pretrained()
    (IMAGES / "models").mkdir(exist_ok=True)
    for entry in entries:
        path = IMAGES / "models" / f"{entry.name}{suffix}.png"
        if entry.name in names or (not names and not path.exists()):
            print(path)
            save(draw(entry.name, given.noise_std, given.guidance), path)
    if not names:
        toys = [entry for entry in entries if entry.dataset.startswith("toy/")]
        save(densities(toys), IMAGES / "toys.png", dpi=160)


def draw(name: str, noise_std: float = 0.0, guidance: float | None = None) -> Figure:
    """Samples of a model, its density on the plane, or what it finds in mixtures.

    Args:
      name: of the model.
      noise_std: of the noise to take out of samples of images, see `RawFlow.sample`.
      guidance: of their labels, see `flowzoo.transforms.guided`; None for none.
    """
    flow = flowzoo.load_pretrained(name)
    flow = flow if guidance is None else guided(flow, guidance)
    if flow.card["run"]["name"].startswith("ica/"):
        # Of photographs the true sources are not known.
        return sources(flow) if flow.card["dataset"].startswith("ica/") else filters(flow)
    if flow.event_shape == (2,):
        figure = Figure(figsize=(3, 3))
        show_density(figure.subplots(), flow)
        return figure
    key, rows, columns = jax.random.key(0), 4, 12
    if flow.context is None:
        x = flow.sample(key, (rows * columns,), noise_std=noise_std)
    else:
        rows, columns = 4, flow.context.size
        x = flow.sample(key, (rows,), jnp.arange(columns), noise_std=noise_std)
        x = x.reshape(rows * columns, -1)
    if flow.event_shape == (63,):
        # A patch of 8 × 8 whose mean was subtracted and whose last pixel was left out.
        x = jnp.concatenate([x, -x.sum(-1, keepdims=True)], -1)
        shape, limits = (8, 8), (-0.4, 0.4)
    else:
        shape, limits = flow.image_shape, (0, flow.levels - 1)
    figure = Figure(figsize=(0.5 * columns, 0.5 * rows))
    axes = figure.subplots(rows, columns)
    for panel, image in zip(axes.flat, np.asarray(x), strict=True):
        low, high = limits
        panel.imshow(image.reshape(shape).squeeze(), cmap="gray", vmin=low, vmax=high)
        panel.axis("off")
    figure.subplots_adjust(0, 0, 1, 1, 0.04, 0.04)
    return figure


def sources(flow) -> Figure:
    """The true sources of the test split against the latents that belong to them."""
    test = flowzoo.load_dataset(flow.card["dataset"]).test
    latents = np.asarray(flow.flow.transform.forward(flow.preprocessing.forward(test.x)))
    pairs = ica.match(test.sources, latents)
    figure = Figure(figsize=(1.5 * len(pairs.order), 1.75))
    for i, panel in enumerate(figure.subplots(1, len(pairs.order))):
        panel.scatter(test.sources[:, i], latents[:, pairs.order[i]], s=1, color="C0")
        panel.set_title(f"{abs(pairs.correlation[i]):.4f}", size=8, color=GREY)
        panel.set(xticks=[], yticks=[])
    return figure


def filters(flow) -> Figure:
    """The rows of linear ICA's matrix as patches of 8 × 8, the last pixel left at zero."""
    weight = np.asarray(jax.jacfwd(flow.flow.transform.forward)(jnp.zeros(flow.event_shape)))
    strength = np.linalg.norm(np.linalg.inv(weight), axis=0)
    rows = np.pad(weight, ((0, 0), (0, 1)))[np.argsort(-strength)]
    rows -= rows.mean(1, keepdims=True)
    figure = Figure(figsize=(8, 2))
    for panel in figure.subplots(4, 16).flat:
        panel.axis("off")
    for panel, row in zip(figure.axes, rows, strict=False):
        most = np.abs(row).max()
        panel.imshow(row.reshape(8, 8), cmap="gray", vmin=-most, vmax=most)
    figure.subplots_adjust(0, 0, 1, 1, 0.04, 0.04)
    return figure


def densities(entries) -> Figure:
    """The densities of some models on the plane, side by side."""
    figure = Figure(figsize=(1.5 * len(entries), 1.75))
    for panel, entry in zip(figure.subplots(1, len(entries)), entries, strict=True):
        show_density(panel, flowzoo.load_pretrained(entry.name))
        panel.set_title(entry.dataset.removeprefix("toy/").replace("_", " "), size=8, color=GREY)
    return figure


def show_density(panel, flow) -> None:
    """The density on the square that holds the data."""
    x = flowzoo.load_dataset(flow.card["dataset"]).train.x
    centre, half = (x.max(0) + x.min(0)) / 2, 0.55 * np.ptp(x, axis=0).max()
    grid, extent = square(centre, half)
    density = np.exp(np.asarray(flow.log_prob(grid)))
    panel.imshow(density, origin="lower", extent=extent, cmap=MAP)
    panel.axis("off")


def square(centre: np.ndarray, half: float, points: int = 150) -> tuple[np.ndarray, tuple]:
    """A grid `[points, points, 2]` of a square, and its extent for `imshow`."""
    x, y = (np.linspace(c - half, c + half, points) for c in centre)
    grid = np.stack(np.meshgrid(x, y), -1).astype(np.float32)
    return grid, (x[0], x[-1], y[0], y[-1])


def save(figure: Figure, path: pathlib.Path, dpi: int = 110) -> None:
    """Writes a picture of at most 256 colours, which takes a third of the bytes."""
    from PIL import Image

    figure.savefig(path, dpi=dpi, transparent=True, bbox_inches="tight", pad_inches=0.02)
    with Image.open(path) as image:
        quantized = image.quantize(colors=256, method=Image.Quantize.FASTOCTREE)
    quantized.save(path, optimize=True)


if __name__ == "__main__":
    main()
