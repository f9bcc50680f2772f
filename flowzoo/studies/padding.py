"""Padding by nothing, zeros or noise: likelihood, samples and conditioning.

    python -m flowzoo.studies.padding [--toys=moons,eight_gaussians,checkerboard,two_spirals]
        [--sizes=4,10] [--models=couplings,fully_connected] [--digits=1]

Planar densities, standardised, are padded to more dimensions by zeros or by standard normal noise,
drawn afresh for each batch, and learned by Real NVP and by the fully connected flow. After each
epoch the condition number of the Jacobian `∂z/∂(x, u)` is measured exactly on test points, at the
end the likelihood and the Wasserstein-2 distance of samples to data (by exact assignment).

What "likelihood" means depends on the padding: the exact one without; with noise, a lower bound and
its importance-weighted estimate (`flowzoo.transforms.GaussianPadding`); with zeros there is none,
and what training maximises, the density of the padded data, grows without bound.

The digits, 8 × 8 pixels in logit space, get a second channel of zeros, of noise, or of noise that
is clipped to [−1, 1], as in the article. Clipped noise has atoms and so no density either.

Source: Koehler, Mehta, Risteski, "Representational aspects of depth and conditioning in normalizing
flows", arXiv 2010.01155.
"""

import functools
import math
from types import SimpleNamespace
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from flowzoo.data import load_dataset
from flowzoo.data.toy import TOYS
from flowzoo.flow import Flow
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.planar import standardized, wasserstein
from flowzoo.studies.study import Option, Record, Study
from flowzoo.studies.training import Flows, condition_numbers, fully_connected, stack, train
from flowzoo.training.evaluation import evaluation_key
from flowzoo.transforms import Chain, GaussianPadding, Reshape, importance_weighted_log_prob
from flowzoo.zoo import build

RATE = 2e-3
EPOCHS = 8
LEVELS = (0.1, 0.5, 0.9)
# Points for samples and their distance; events whose Jacobian is decomposed; samples of the bound.
POINTS, JACOBIANS, WEIGHTS = 1000, 128, 64
MODELS = {"couplings": "Real NVP", "fully_connected": "fully connected"}
IMAGE = (8, 8, 1)
# What pads: the standard deviation of normal noise, and where it is clipped.
NOISE = {
    "none": (0.0, math.inf),
    "zeros": (0.0, math.inf),
    "gaussian": (1.0, math.inf),
    "clipped": (1.0, 1.0),
}

OPTIONS = {
    "toys": Option(
        ("moons", "eight_gaussians", "checkerboard", "two_spirals"),
        "Planar densities.",
        ("moons",),
        choices=tuple(TOYS),
    ),
    "sizes": Option((4, 10), "Dimensions after padding.", (4,), least=3),
    "models": Option(tuple(MODELS), "Which flows.", ("couplings",), choices=tuple(MODELS)),
    "digits": Option(1, "Whether the digits are measured too, 1 or 0.", 0, choices=(0, 1)),
    "steps": Option(1200, "Steps of Adam.", 8, least=EPOCHS),
    "batch": Option(128, "Points in a batch; of digits half as many.", least=2),
    "seed": Option(0, "Of the points, the noise and the starting values.", least=0),
}


class Task(NamedTuple):
    """Data to be padded.

    Attributes:
      shape: of one event; the padding lengthens its last axis.
      pool: `[M, N, *shape]`, training data of M flows, standardised.
      test: `[M, T, *shape]`.
    """

    shape: tuple[int, ...]
    pool: np.ndarray
    test: np.ndarray

    def padded_shape(self, padding: int) -> tuple[int, ...]:
        return (*self.shape[:-1], self.shape[-1] + padding)


def planar(settings: SimpleNamespace) -> Task:
    points = standardized(settings.toys, 52_000, seed=settings.seed)
    return Task((2,), points[:, :50_000], points[:, 50_000:])


def digits(settings: SimpleNamespace) -> Task:
    dataset = load_dataset("digits", seed=settings.seed)
    parts = [np.asarray(dataset.model_space(s, evaluation_key(s))) for s in ("train", "test")]
    mean, scale = parts[0].mean(), parts[0].std()
    pool, test = (((x - mean) / scale).reshape(1, -1, *IMAGE) for x in parts)
    return Task(IMAGE, pool, test)


TASKS = {"planar": planar, "digits": digits}


def pad(x: jax.Array, key: jax.Array, noise: tuple, padding: int) -> jax.Array:
    """Padded and flattened events `[N, D']` of `x: [N, *shape]`; `noise` as in `NOISE`."""
    scale, bound = noise
    u = jnp.clip(scale * jax.random.normal(key, (*x.shape[:-1], padding)), -bound, bound)
    return jnp.concatenate([x, u], -1).reshape(len(x), -1)


def make_flows(model: str, task: Task, padding: int, seed: int) -> list[Flow]:
    """A flow on padded events for each of the task's sets of data.

    The fully connected flow is whitened by data that are padded with noise: zeros cannot be.
    """
    shape = task.padded_shape(padding)
    dim = math.prod(shape)
    if model == "fully_connected":
        key = jax.random.key(seed)
        data = [pad(x[:1200], key, NOISE["gaussian"], padding) for x in task.pool]
        return [fully_connected(dim, num_layers=4, data=x, seed=seed) for x in data]
    if len(shape) == 1:
        config = {"name": "real_nvp", "num_layers": 6, "hidden_sizes": (64,)}
    else:
        config = {"name": "real_nvp_image", "image_shape": shape}
        config |= {"num_scales": 2, "hidden_channels": 8, "num_blocks": 1}
    flow = build(config | {"batch_norm": False}, (dim,), rngs=nnx.Rngs(seed))
    return [flow] * len(task.pool)


def augmented(flow: Flow, task: Task, padding: int) -> Flow:
    """The flow on the data themselves, by a `GaussianPadding` before a flow on padded events."""
    shape = task.padded_shape(padding)
    steps = [GaussianPadding(task.shape, padding), Reshape(shape, (math.prod(shape),))]
    return Flow(flow.base, Chain([*steps, flow.transform]))


def fit(
    settings: SimpleNamespace,
    name: str,
    kinds: tuple[str, ...],
    padding: int,
    model: str,
    batch: int,
) -> dict:
    """Trains a flow for each kind and each of the task's sets of data; see `measure`."""
    task = TASKS[name](settings)
    seed, count = settings.seed, len(kinds)
    noise = tuple(jnp.repeat(jnp.array([NOISE[k] for k in kinds]), len(task.test), 0).T)
    which = jnp.tile(jnp.arange(len(task.test)), count)
    test_keys = jnp.tile(jax.random.split(jax.random.key(seed + 1), len(task.test)), count)
    pool, test = jnp.asarray(task.pool), jnp.asarray(task.test)[which]
    padded = jax.vmap(functools.partial(pad, padding=padding))(test, test_keys, noise)

    def draw(data, key):
        which, noise = data
        rows, key = jax.random.split(key)
        x = pool[which, jax.random.randint(rows, (batch,), 0, pool.shape[1])]
        return pad(x, key, noise, padding)

    def conditioning(flows: Flows) -> np.ndarray:
        return np.asarray(flows.map(jacobian_conditions, padded[:, :JACOBIANS]))

    flows, conditions = train(
        stack(make_flows(model, task, padding, seed) * count),
        draw,
        (which, noise),
        steps=settings.steps - settings.steps % EPOCHS,
        rate=RATE,
        rule="relative" if model == "fully_connected" else "ordinary",
        seed=seed,
        epochs=EPOCHS,
        each=conditioning,
    )

    def evaluate(flow, padded, key):
        return flow.log_prob(padded).mean(), flow.sample(key, (POINTS,))

    def estimate(flow, x, key):
        flow = augmented(flow, task, padding)
        log_p = importance_weighted_log_prob(flow, x, key, num_samples=WEIGHTS)
        return flow.log_prob(x).mean(), log_p.mean()

    joint, draws = flows.map(evaluate, padded, test_keys)
    bounds = flows.map(estimate, test, test_keys) if "gaussian" in kinds else None
    draws = np.asarray(draws).reshape(len(which), POINTS, *task.padded_shape(padding))
    draws, pads = np.split(draws, [task.shape[-1]], axis=-1)
    conditions = np.stack([np.quantile(c, LEVELS, axis=1) for c in conditions])
    found = {}
    for i, kind in enumerate(kinds):
        members = slice(i * len(task.test), (i + 1) * len(task.test))
        # Conditions: [epochs + 1, levels, M].
        cell = {"conditions": conditions[..., members], "joint": joint[members]}
        if kind == "none":
            cell["nats"] = joint
        if kind == "gaussian":
            cell["bound"], cell["nats"] = (value[members] for value in bounds)
        if padding:
            squares = pads[members] ** 2
            cell["padding_size"] = np.sqrt(squares.mean(axis=tuple(range(1, squares.ndim))))
        if len(task.shape) == 1:
            pairs = zip(draws[members], task.test[:, :POINTS], strict=True)
            cell["distance"] = [wasserstein(*pair) for pair in pairs]
            cell["samples"] = np.round(draws[members, :250].astype(float), 2)
        found[kind] = cell
    return found


def jacobian_conditions(flow: Flow, x: jax.Array) -> jax.Array:
    return condition_numbers(flow.transform, x)


def measure(settings: SimpleNamespace, record: Record) -> dict:
    """Cells of each model and padding: (task, model, kind, dimensions) -> what was measured.

    The kinds of one size are one vmapped program. Values are listed by toy, the digits' lists have
    one entry: `conditions` (at each epoch and of `LEVELS`), `joint` (the log-density of the padded
    data, for what it means), `nats`, `bound`, `distance`, `samples`, and `padding_size`, the root
    mean square of the samples' padding.
    """
    programs = [(("none",), 0)] + [(("zeros", "gaussian"), size - 2) for size in settings.sizes]
    plans = [("planar", {"toys": settings.toys}, programs)]
    if settings.digits:
        plans.append(("digits", {}, [(("none",), 0), (("zeros", "gaussian", "clipped"), 1)]))
    wanted = {}
    for task, options, programs in plans:
        batch = settings.batch if task == "planar" else settings.batch // 2
        for model in settings.models:
            for kinds, padding in programs:
                key = dict(task=task, model=model, kinds=kinds, padding=padding, **options)
                key |= dict(steps=settings.steps, batch=batch, seed=settings.seed)
                train = functools.partial(fit, settings, task, kinds, padding, model, batch)
                wanted[task, model, kinds, padding] = key, train
    key = {"toys": settings.toys, "reference": POINTS, "seed": settings.seed}
    wanted["reference"] = key, functools.partial(reference_distances, settings)
    measured = record.cells(wanted)
    reference = measured.pop("reference")["distance"]
    cells = {
        (task, model, kind, padding): found[kind]
        for (task, model, kinds, padding), found in measured.items()
        for kind in kinds
    }
    return {"settings": settings, "cells": cells, "reference": reference}


def reference_distances(settings: SimpleNamespace) -> dict:
    """The distance of data to other data: what the best flow's samples would have."""
    task = planar(settings)
    pairs = zip(task.pool[:, :POINTS], task.test[:, :POINTS], strict=True)
    return {"distance": [wasserstein(*pair) for pair in pairs]}


def table(found: dict) -> str:
    settings = found["settings"]
    header = ["data", "flow", "padding", "log-likelihood, nats", "bound", "joint, nats"]
    header += ["W2 to data", "condition number, median (10 % … 90 %)"]

    def number(values, i, form=".2f"):
        if values is None or values[i] is None:
            return None
        # Zeros may end at any number.
        return f"{values[i]:{form if abs(values[i]) < 1e6 else '.3g'}}"

    rows = []
    names = {"planar": list(settings.toys), "digits": ["digits"]}
    for task, titles in names.items():
        for i, title in enumerate(titles):
            for (of, model, kind, padding), cell in found["cells"].items():
                if of != task:
                    continue
                low, middle, high = np.array(cell["conditions"][-1], float)[:, i]
                padded = label(kind, padding) + (" channel" if task == "digits" and padding else "")
                rows.append(
                    [
                        title,
                        MODELS[model],
                        padded,
                        number(cell.get("nats"), i),
                        number(cell.get("bound"), i),
                        number(cell["joint"], i),
                        number(cell.get("distance"), i, ".3f"),
                        f"{middle:.3g} ({low:.3g} … {high:.3g})",
                    ]
                )
    floor = ", ".join(
        f"{toy} {value:.3f}" for toy, value in zip(settings.toys, found["reference"], strict=True)
    )
    return tables.markdown(header, rows) + f"\n\nW2 of data to other data: {floor}."


def label(kind: str, padding: int) -> str:
    return kind if kind == "none" else f"{kind}, + {padding}"


def draw(found: dict) -> Figure:
    """Condition numbers by epoch for each set of data, and samples of the first model below."""
    settings, cells = found["settings"], found["cells"]
    planar_kinds = [key[2:] for key in cells if key[:2] == ("planar", settings.models[0])]
    tasks = [("planar", i, toy) for i, toy in enumerate(settings.toys)]
    tasks += [("digits", 0, "digits")] * settings.digits
    rows = len(settings.models) + len(planar_kinds)
    figure = Figure(figsize=(2.6 * len(tasks), 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, len(tasks), squeeze=False)
    for j, (task, i, title) in enumerate(tasks):
        for row, model in enumerate(settings.models):
            axes = panels[row][j]
            keys = [key for key in cells if key[:2] == (task, model)]
            for color, key in enumerate(keys):
                values = np.array(cells[key]["conditions"], float)[:, :, i]
                axes.plot(values[:, 1], color=f"C{color}", label=label(*key[2:]))
                band = values[:, 0], values[:, 2]
                epochs = range(len(values))
                axes.fill_between(epochs, *band, color=f"C{color}", alpha=0.15, linewidth=0)
            axes.set(yscale="log", title=f"{title}, {MODELS[model]}")
            axes.title.set_size(8)
            if j in (0, len(tasks) - 1):
                axes.legend(fontsize=6)
        for row, (kind, padding) in enumerate(planar_kinds, len(settings.models)):
            axes = panels[row][j]
            axes.set_axis_off()
            if task != "planar":
                continue
            samples = cells["planar", settings.models[0], kind, padding]["samples"][i]
            points = np.array(samples, float)
            axes.scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
            axes.set(xlim=(-3, 3), ylim=(-3, 3))
            axes.set_title(f"{label(kind, padding)}: samples", size=8)
    for row in range(len(settings.models)):
        panels[row][0].set_ylabel("condition number")
    return figure


STUDY = Study("padding", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
