"""The flows, data, optimizers and starts that `flowzoo.studies.optimizers` compares."""

import dataclasses
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from ml_collections import config_dict
import numpy as np

from flowzoo.data import load_dataset
from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.training.config import default_config
from flowzoo.training.loop import build_flow
from flowzoo.transforms import SVD, Chain, Dense, Orthogonal, Transform
from flowzoo.transforms.linear.dense import dense_layers
from flowzoo.transforms.linear.linear import Linear

# A task's own is a random rotation for the paper's flow, and near the identity, behind a whitening,
# for the one with learned maps.
STARTS = ("own", "normal", "identity", "whitening")


class Method(NamedTuple):
    """An optimizer of the dense layers.

    Attributes:
      gradient, name, momentum: of the config.
      rates: the learning rates to try.
      linear: what stands in the place of a dense layer, None for itself.
      part: of the singular values that relative Muon brings to one; None: all of them.
    """

    gradient: str
    name: str
    rates: tuple[float, ...]
    momentum: float = 0.9
    linear: str | None = None
    part: float | None = None


METHODS = {
    "sgd_ordinary": Method("ordinary", "sgd", (3e-4, 1e-3, 3e-3, 1e-2), 0.0),
    "sgd_relative": Method("relative", "sgd", (1e-3, 3e-3, 1e-2, 3e-2), 0.0),
    "momentum_ordinary": Method("ordinary", "sgd", (3e-5, 1e-4, 3e-4, 1e-3)),
    "momentum_relative": Method("relative", "sgd", (1e-4, 3e-4, 1e-3, 3e-3)),
    "adam_ordinary": Method("ordinary", "adam", (3e-3, 1e-2, 3e-2, 1e-1)),
    "adam_relative": Method("relative", "adam", (1e-3, 3e-3, 1e-2, 3e-2)),
    "relative_adam": Method("relative", "relative_adam", (3e-4, 1e-3, 3e-3, 1e-2)),
    "muon_ordinary": Method("ordinary", "muon", (1e-2, 3e-2, 1e-1, 3e-1)),
    "relative_muon": Method("relative", "relative_muon", (1e-2, 3e-2, 1e-1, 3e-1)),
    "relative_muon_8th": Method("relative", "relative_muon", (1e-2, 3e-2, 1e-1, 3e-1), part=1 / 8),
    "cayley": Method("ordinary", "adam", (3e-3, 1e-2, 3e-2, 1e-1), linear="cayley"),
    "svd": Method("ordinary", "adam", (3e-3, 1e-2, 3e-2, 1e-1), linear="svd"),
}


class Task(NamedTuple):
    """A flow on a dataset.

    Attributes:
      title: in words.
      keys: in which the config differs from the default.
      epochs: of a run.
      rate: of everything but the dense layers; None if there is nothing else.
    """

    title: str
    keys: dict[str, Any]
    epochs: int
    rate: float | None = None

    def fits(self, method: Method) -> bool:
        """Whether the method is for this task: plain descent does not train learned maps."""
        return self.rate is None or method.name != "sgd"


LEARNED = dict(name="fully_connected_learned", num_layers=2)


def _unmixing(title: str, data: str, num_layers: int) -> Task:
    return Task(
        title,
        dict(
            dataset=dict(name=data),
            conditional=True,
            model=dict(name="unmixing", num_layers=num_layers, between="learned_smooth_leaky_relu"),
            batch_size=500,
            optimizer=dict(warmup_steps=100),
        ),
        # 8,000 steps.
        111,
        rate=1e-2,
    )


TASKS = {
    "moons": Task(
        "Moons, six dense layers and the smooth leaky ReLU",
        dict(
            dataset=dict(name="toy/moons"),
            model=dict(
                name="fully_connected",
                num_layers=6,
                nonlinearity=dict(name="smooth_leaky_relu", alpha=0.3),
            ),
        ),
        40,
    ),
    "digits": Task(
        "Digits, the paper's flow",
        dict(dataset=dict(name="digits"), model=dict(name="fully_connected")),
        150,
    ),
    "digits_learned": Task(
        "Digits, the flow with learned maps",
        dict(
            dataset=dict(name="digits"),
            model=LEARNED | dict(after_dense=("radial", "divisive_normalization")),
            parameter_average=0.99,
        ),
        100,
        rate=3e-3,
    ),
    "mnist": Task(
        "MNIST, the paper's flow",
        dict(dataset=dict(name="mnist"), model=dict(name="fully_connected"), batch_size=250),
        10,
    ),
    "bsds300": Task(
        "BSDS300, six layers with learned maps, one epoch",
        dict(
            dataset=dict(name="bsds300"),
            model=dict(
                name="fully_connected_learned",
                num_layers=6,
                inner="learned_tanh_mix",
                outer=dict(name="spline", num_bins=8, init="identity"),
                after_dense=("divisive_normalization",),
            ),
            batch_size=400,
            parameter_average=0.998,
            optimizer=dict(clip_norm=30.0, warmup_steps=300),
        ),
        1,
        rate=3e-3,
    ),
    "four_layers": _unmixing("Sources behind four layers, D = 5", "ica/four_layers", 4),
    "five_layers": _unmixing("Sources behind five layers, D = 5", "ica/five_layers", 5),
}


class Cell(NamedTuple):
    """What a run depends on besides its length.

    Attributes:
      task, method: names.
      rate: of the dense layers.
      seed: of the starting values and the order of the rows.
      start: of the dense layers.
      condition: of the matrix that the data are multiplied by.
      moved: whether the first dense layer starts such that its outputs are those on the data as
        they were.
    """

    task: str
    method: str
    rate: float
    seed: int
    start: str
    condition: float
    moved: bool


def run_of(cell: Cell, epochs: int, data_dir: str = "") -> dict[str, Any]:
    """The arguments of `flowzoo.studies.curves.curve`."""
    task, method = TASKS[cell.task], METHODS[cell.method]
    config = config_dict.ConfigDict(default_config().to_dict())
    config.name, config.title = f"optimizers/{cell.task}", task.title
    model = dict(task.keys["model"])
    config.update({key: value for key, value in task.keys.items() if key != "model"})
    if cell.start in ("identity", "whitening"):
        model.update(init="identity", whiten=cell.start == "whitening")
    config.model = config_dict.ConfigDict(model)
    config.update(gradient=method.gradient, seed=cell.seed, num_epochs=epochs, patience=10**6)
    config.dataset.data_dir = data_dir
    config.optimizer.update(
        name=method.name,
        learning_rate=cell.rate if task.rate is None else task.rate,
        dense_learning_rate=cell.rate,
        momentum=method.momentum,
        schedule="cosine",
    )
    dataset = _data(config.dataset.name, data_dir)
    if method.part is not None:
        config.optimizer.rank = max(1, int(method.part * dataset.event_shape[0]))
    flow = build_flow(config, dataset)
    if cell.start == "normal":
        _draw_normal(flow, cell.seed)
    constant = 0.0
    if cell.condition != 1:
        (dim,) = dataset.event_shape
        matrix = stretch(dim, cell.condition)
        dataset = _stretched(dataset, matrix)
        constant = float(np.linalg.slogdet(matrix)[1])
        if cell.moved:
            first = next(iter(dense_layers(flow).values()))
            moved = np.asarray(first.weight[...], np.float64) @ np.linalg.inv(matrix)
            first.weight[...] = jnp.asarray(moved, first.weight[...].dtype)
    if method.linear is not None:
        flow = _with_linear(flow, method.linear, cell.seed)
    return dict(config=config, dataset=dataset, flow=flow, constant=constant)


@functools.lru_cache(maxsize=2)
def _data(name: str, data_dir: str) -> Dataset:
    return load_dataset(name, data_dir=data_dir or None)


def _draw_normal(flow: Flow, seed: int) -> None:
    """W with independent normal entries, of variance 1/D."""
    key = jax.random.key(seed)
    for i, layer in enumerate(dense_layers(flow).values()):
        noise = jax.random.normal(jax.random.fold_in(key, i), layer.weight.shape)
        layer.weight[...] = noise / np.sqrt(layer.weight.shape[-1])


def stretch(dim: int, condition: float) -> np.ndarray:
    """`diag(s) V`: V a random rotation, s evenly spaced on a log scale, its mean log 0.

    The coordinates of the result, of very different sizes, are rounded each by itself: data at a
    condition number of 1e6 are as precise in single precision as they were.
    """
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))[0]
    return np.logspace(-0.5, 0.5, dim, base=condition)[:, None] * rotation


def _stretched(dataset: Dataset, matrix: np.ndarray) -> Dataset:
    dense = Dense(len(matrix), use_bias=False, rngs=nnx.Rngs(0))
    dense.weight[...] = jnp.asarray(matrix, dense.weight[...].dtype)
    preprocessing = Chain([dataset.preprocessing, dense])
    return dataclasses.replace(dataset, preprocessing=preprocessing)


class Scaled(Linear):
    """`z = Q diag(s) x + b`, Q a rotation by the Cayley map, s positive; `log_det = Σ log s_i`."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        super().__init__(dim)
        self.q = Orthogonal(dim, use_bias=False, rngs=rngs)
        self.log_scale = nnx.Param(jnp.zeros(dim))

    def multiply(self, x):
        return self.q.multiply(jnp.exp(self.log_scale[...]) * x)

    def solve(self, y):
        return jnp.exp(-self.log_scale[...]) * self.q.solve(y)

    def log_abs_det(self):
        return self.log_scale[...].sum()


def _with_linear(flow: Flow, linear: str, seed: int) -> Flow:
    """The flow with another layer in the place of each dense one."""
    rngs = nnx.Rngs(seed)

    def other(layer: Transform) -> Transform:
        if not isinstance(layer, Dense):
            return layer
        (dim,) = layer.event_shape
        return SVD(dim, method="cayley", rngs=rngs) if linear == "svd" else Scaled(dim, rngs=rngs)

    transforms = [other(layer) for layer in flow.transform.transforms]
    return Flow(flow.base, Chain(transforms), flow.context)
