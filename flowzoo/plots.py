"""Pictures of data, samples, densities and training."""

from collections.abc import Sequence
import math

from etils import epath
import jax
import jax.numpy as jnp
import matplotlib
from matplotlib.figure import Figure
import numpy as np

from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow

matplotlib.use("agg", force=False)


def save(figure: Figure, path: epath.PathLike) -> None:
    """Writes a figure as PNG."""
    with epath.Path(path).open("wb") as file:
        figure.savefig(file, format="png", dpi=120, bbox_inches="tight")


def learning_curve(metrics: Sequence[dict[str, float]], path: epath.PathLike) -> None:
    """Train and validation log-likelihood against the epoch.

    The vertical axis begins where the first tenth of the run ended, so that the start does not
    flatten the rest.
    """
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    epochs = [record["epoch"] for record in metrics]
    for name in ("train", "validation"):
        axes.plot(epochs, [record[f"{name}_nats"] for record in metrics], label=name)
    late = metrics[len(metrics) // 10 :]
    values = [record[f"{name}_nats"] for record in late for name in ("train", "validation")]
    if values and min(values) < max(values):
        margin = 0.05 * (max(values) - min(values))
        axes.set_ylim(min(values) - margin, max(values) + margin)
    axes.set(xlabel="epoch", ylabel="log-likelihood (nats)")
    axes.legend()
    save(figure, path)


def samples(flow: Flow, dataset: Dataset, key: jax.Array, path: epath.PathLike) -> None:
    """A grid of sampled images; for other data, samples beside data, and the density if 2-D.

    A class-conditional flow is shown one row of images for each class.
    """
    if dataset.image_shape is not None:
        figure = image_grid(draw_images(flow, dataset, key, 10, 10))
    else:
        figure = _points(flow, dataset, key)
    save(figure, path)


def draw_images(flow: Flow, dataset: Dataset, key, rows: int, columns: int) -> np.ndarray:
    """Samples `[rows, columns, H, W, C]` scaled to [0, 1]."""
    if flow.context is None:
        z = jax.jit(lambda flow: flow.sample(key, (rows * columns,)))(flow)
    else:
        labels = jnp.repeat(jnp.arange(rows) % dataset.num_classes, columns)
        z = jax.jit(lambda flow: flow.sample(key, (), labels))(flow)
    # The brightest level is what the preprocessing maps infinity to.
    brightest = dataset.preprocessing.inverse(jnp.full(dataset.event_shape, jnp.inf))
    x = np.asarray(dataset.preprocessing.inverse(z) / brightest)
    return np.clip(np.nan_to_num(x), 0, 1).reshape(rows, columns, *dataset.image_shape)


def image_grid(images: np.ndarray) -> Figure:
    """Images `[rows, columns, H, W, C]` in [0, 1] side by side."""
    rows, columns, height, width, channels = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=0.5)
    sheet = padded.transpose(0, 2, 1, 3, 4).reshape(
        rows * (height + 2), columns * (width + 2), channels
    )
    figure = Figure(figsize=(columns * 0.6, rows * 0.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet.squeeze(), cmap="gray", vmin=0, vmax=1)
    axes.axis("off")
    return figure


def _points(flow: Flow, dataset: Dataset, key: jax.Array) -> Figure:
    data = np.asarray(dataset.test.x)
    context = None
    if flow.context is not None:
        context = jnp.arange(len(data)) % dataset.num_classes
    z = flow.sample(key, () if context is not None else (len(data),), context)
    drawn = np.asarray(dataset.preprocessing.inverse(z))
    planar = dataset.event_shape == (2,) and flow.context is None
    figure = Figure(figsize=(4 * (2 + planar), 4))
    panels = figure.subplots(1, 2 + planar, sharex=True, sharey=True)
    low, high = np.percentile(data[:, :2], [0.1, 99.9], axis=0)
    margin = 0.15 * (high - low)
    low, high = low - margin, high + margin
    for axes, points, title in zip(panels, (data, drawn), ("data", "samples")):
        axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
        axes.set(title=title, xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    if planar:
        panels[2].imshow(
            density(flow, dataset, low, high),
            extent=(low[0], high[0], low[1], high[1]),
            origin="lower",
            aspect="auto",
        )
        panels[2].set_title("density")
    return figure


def density(
    flow: Flow, dataset: Dataset, low: np.ndarray, high: np.ndarray, size: int = 200
) -> np.ndarray:
    """Density of a 2-D flow in raw space on a grid `[size, size]`, rows along the second axis."""
    grid = np.meshgrid(np.linspace(low[0], high[0], size), np.linspace(low[1], high[1], size))
    x = jnp.asarray(np.stack(grid, -1), jnp.float32)
    z, log_det = dataset.preprocessing.forward_and_log_det(x)
    return np.asarray(jnp.exp(jax.jit(lambda f, z: f.log_prob(z))(flow, z) + log_det))
