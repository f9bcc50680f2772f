"""Pictures of data, samples, densities and training."""

from collections.abc import Sequence
import math

from etils import epath
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.raw_flow import RawFlow

# Of samples and of data in a scatter plot; sampling 250,000 would outlast a short training.
_POINTS = 2_000
# In a sheet of images.
_IMAGES = 400


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


def samples(
    flow: Flow, dataset: Dataset, key: jax.Array, path: epath.PathLike, noise_std: float = 0.0
) -> None:
    """A grid of sampled images; for other data, samples beside data, and the density if 2-D.

    A class-conditional flow is shown one row of images for each class. The noise of its training,
    `noise_std`, is taken out of the samples.
    """
    count = 100 if dataset.image_shape is not None else min(len(dataset.test), _POINTS)
    shape, context = (count,), None
    if flow.context is not None:
        shape, context = (), jnp.arange(count) * dataset.num_classes // count

    def draw(flow):
        x = flow.sample(key, shape, context)
        return flow.denoise(x, noise_std, context) if noise_std else x

    z = jax.jit(draw)(flow)
    x = np.asarray(dataset.preprocessing.inverse(z))
    planar = dataset.event_shape == (2,) and flow.context is None
    save(draws(x, dataset, flow if planar else None), path)


def draws(x: np.ndarray, dataset: Dataset, planar_flow: Flow | None = None) -> Figure:
    """Draws the first of `x: [N, *raw_shape]`: a grid of images, or points beside the data's.

    Args:
      x: samples in raw space.
      dataset: what the flow was trained on.
      planar_flow: an unconditional flow on the plane, whose density is then shown too.
    """
    if dataset.image_shape is not None:
        return image_grid(x[:_IMAGES].reshape(-1, *dataset.image_shape), _brightest(dataset))
    x, data = x[:_POINTS], np.asarray(dataset.test.x[:_POINTS])
    if dataset.units is not None:
        data = np.asarray(dataset.units.inverse(data))
    if data.ndim != 2 or data.shape[1] == 1:
        return _histograms(x.reshape(len(x), -1)[:, 0], data.reshape(len(data), -1)[:, 0])
    panels = 2 if planar_flow is None else 3
    figure = Figure(figsize=(4 * panels, 4))
    axes = figure.subplots(1, panels, sharex=True, sharey=True)
    low, high = np.percentile(data[:, :2], [0.1, 99.9], axis=0)
    margin = 0.15 * (high - low)
    low, high = low - margin, high + margin
    for panel, points, title in zip(axes, (data, x), ("data", "samples"), strict=False):
        panel.scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
        panel.set(title=title, xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    if planar_flow is not None:
        axes[2].imshow(
            density(planar_flow, dataset, low, high),
            extent=(low[0], high[0], low[1], high[1]),
            origin="lower",
            aspect="auto",
        )
        axes[2].set_title("density")
    return figure


def draws_alone(x: np.ndarray, model: RawFlow) -> Figure:
    """Draws the first of `x: [N, *event_shape]` without their data: images, or points."""
    if model.image_shape is not None:
        return image_grid(x[:_IMAGES].reshape(-1, *model.image_shape), model.levels - 1)
    x = x[:_POINTS]
    if x.ndim != 2 or x.shape[1] == 1:
        return _histograms(x.reshape(len(x), -1)[:, 0])
    figure = Figure(figsize=(4, 4))
    figure.subplots().scatter(x[:, 0], x[:, 1], s=2, linewidths=0)
    return figure


def _histograms(*groups: np.ndarray) -> Figure:
    """Of the first feature of samples and of data, where there is no second one to plot against."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for values, name in zip(groups, ("samples", "data"), strict=False):
        axes.hist(values, bins=50, density=True, histtype="step", label=name)
    axes.legend()
    return figure


def _brightest(dataset: Dataset) -> float:
    # The largest raw value is what the preprocessing maps infinity to.
    return float(dataset.preprocessing.inverse(jnp.full(dataset.event_shape, jnp.inf)).max())


def image_grid(images: np.ndarray, brightest: float = 1.0) -> Figure:
    """Images `[N, H, W, C]` with values in [0, brightest], ten in a row."""
    count, height, width, channels = images.shape
    columns = min(10, count)
    rows = math.ceil(count / columns)
    images = np.clip(np.nan_to_num(images / brightest), 0, 1)
    images = np.pad(
        images, ((0, rows * columns - count), (1, 1), (1, 1), (0, 0)), constant_values=0.5
    )
    images = images.reshape(rows, columns, height + 2, width + 2, channels)
    sheet = images.transpose(0, 2, 1, 3, 4).reshape(
        rows * (height + 2), columns * (width + 2), channels
    )
    figure = Figure(figsize=(columns * 0.6, rows * 0.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet.squeeze(-1) if channels == 1 else sheet, cmap="gray", vmin=0, vmax=1)
    axes.axis("off")
    return figure


def density(
    flow: Flow, dataset: Dataset, low: np.ndarray, high: np.ndarray, size: int = 200
) -> np.ndarray:
    """Density of a 2-D flow in raw space on a grid `[size, size]`, rows along the second axis."""
    grid = np.meshgrid(np.linspace(low[0], high[0], size), np.linspace(low[1], high[1], size))
    x = jnp.asarray(np.stack(grid, -1), jnp.float32)
    z, log_det = dataset.preprocessing.forward_and_log_det(x)
    return np.asarray(jnp.exp(flow.log_prob(z) + log_det))
