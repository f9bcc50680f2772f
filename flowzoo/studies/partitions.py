"""What the choice of a coupling's partition is worth, at equal parameters.

    python -m flowzoo.studies.partitions [--datasets=digits] [--shapes=flat,image]
        [--couplings=2,4,8]

Real NVP with K affine couplings, each of which maps one of two halves by the other, in turn. The
halves of flat events: the first and the second half (`half`), even and odd coordinates
(`alternating`), pixels of even and odd row plus column (`checkerboard`), these after another fixed
random permutation before each coupling (`random`), or after a dense layer before each coupling,
trained by the relative gradient (`dense`). Of images, with convolutional networks: upper and lower
half, even and odd columns, checkerboard, halves of the four channels of 2 × 2 blocks (`channel`),
these after random permutations of the channels (`random`) or 1 × 1 convolutions trained by the
relative gradient (`conv1x1`).

Networks have one hidden layer (one residual block), whose width is chosen so that the flow has the
same number of parameters at each K and for each partition, matrices included. Beside them the fully
connected flow with K dense layers and splines, with as many parameters (with fewer where that would
take more than the 100 bins of a spline). The best epoch by
validation is tested; digits are 1,297 images in training, of MNIST the first 12,000 are taken, and
the first 2,000 of its validation and test images. Flat flows of all fixed partitions and seeds are
one vmapped program.

Source: Koehler, Mehta, Risteski, "Representational aspects of depth and conditioning in normalizing
flows", arXiv 2010.01155, by which a partition is worth a constant factor in depth.
"""

from collections.abc import Callable
import functools
import math
from types import SimpleNamespace

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from flowzoo import bases
from flowzoo.data import load_dataset
from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.study import Option, Record, Study
from flowzoo.studies.training import Flows, bins_for, fully_connected, stack, train
from flowzoo.training.evaluation import evaluation_key
from flowzoo.transforms import (
    AffineCoupling,
    Chain,
    ChannelCoupling,
    CheckerboardCoupling,
    Dense,
    Invertible1x1Conv,
    Permutation,
    Reshape,
    Squeeze,
)
from flowzoo.zoo.parameters import num_parameters

FLAT = ("half", "alternating", "checkerboard", "random", "dense")
IMAGES = ("half", "alternating", "checkerboard", "channel", "random", "conv1x1")
FIXED = ("half", "alternating", "checkerboard", "random")
FULLY_CONNECTED = "fully connected"
RATE = 2e-3
EPOCHS = 10
# Images of the splits: in training, and in validation and test.
ROWS, SCORED = 12_000, 2_000
# Parameters: flat and image-shaped.
BUDGETS = {
    "digits": {"flat": 100_000, "image": 12_000},
    "mnist": {"flat": 3_000_000, "image": 12_000},
}

OPTIONS = {
    "datasets": Option(("digits",), "Sets of images.", choices=("digits", "mnist")),
    "shapes": Option(("flat", "image"), "Of the events.", ("flat",), choices=("flat", "image")),
    "couplings": Option((2, 4, 8), "Numbers K of couplings.", (2,), least=1),
    "seeds": Option(2, "How many starting values of flat flows.", 1, least=1),
    "steps": Option(800, "Steps of Adam.", 10, least=EPOCHS),
    "batch": Option(64, "Images in a batch.", least=1),
}


def partition(kind: str, image_shape: tuple[int, int, int]) -> np.ndarray:
    """The order of a flat image's pixels in which its first half is kept first."""
    row, column, _ = np.indices(image_shape)
    second = {
        "half": row >= image_shape[0] // 2,
        "alternating": column % 2 == 1,
        "checkerboard": (row + column) % 2 == 1,
    }[kind]
    return np.argsort(second.reshape(-1), kind="stable")


def flat_flow(kind: str, image_shape: tuple[int, int, int], count: int, width: int, seed: int):
    """Real NVP on flat events with `count` couplings of one partition."""
    dim, rngs = math.prod(image_shape), nnx.Rngs(seed)
    rng = np.random.default_rng(seed)
    halves = (np.arange(dim) < dim // 2).astype(int)
    transforms = []
    for i in range(count):
        if kind == "dense":
            transforms.append(Dense(dim, init="orthogonal" if i else "identity", rngs=rngs))
        elif kind == "random":
            transforms.append(Permutation(rng.permutation(dim)))
        else:
            first = partition(kind, image_shape)
            transforms.append(Permutation(np.arange(dim) if i else first))
        mask = halves if i % 2 == 0 else 1 - halves
        transforms.append(AffineCoupling(mask, hidden_sizes=(width,), rngs=rngs))
    return Flow(bases.StandardNormal((dim,)), Chain(transforms))


def image_flow(kind: str, image_shape: tuple[int, int, int], count: int, width: int, seed: int):
    """Real NVP on images, flattened outside, with `count` couplings of one partition."""
    (height, columns, channels), rngs = image_shape, nnx.Rngs(seed)
    dim = math.prod(image_shape)
    options = dict(hidden_channels=width, num_blocks=1, rngs=rngs)
    rng = np.random.default_rng(seed)
    if kind == "half":
        # The lower half becomes a second channel.
        shape = (height // 2, columns, 2 * channels)
        order = np.arange(dim).reshape(2, -1, channels).transpose(1, 0, 2).reshape(-1)
        transforms = [Permutation(order), Reshape((dim,), shape)]
    elif kind == "alternating":
        shape = (height, columns // 2, 2 * channels)
        transforms = [Reshape((dim,), shape)]
    elif kind == "checkerboard":
        shape = image_shape
        transforms = [Reshape((dim,), shape)]
    else:
        transforms = [Reshape((dim,), image_shape), Squeeze(image_shape)]
        shape = transforms[-1].latent_shape
    for i in range(count):
        if kind == "conv1x1":
            transforms.append(Invertible1x1Conv(shape, rngs=rngs))
        elif kind == "random":
            order = np.arange(dim).reshape(shape)[..., rng.permutation(shape[-1])].reshape(-1)
            transforms += [Reshape(shape, (dim,)), Permutation(order), Reshape((dim,), shape)]
        coupling = CheckerboardCoupling if kind == "checkerboard" else ChannelCoupling
        transforms.append(coupling(shape, parity=i, **options))
    return Flow(bases.StandardNormal((dim,)), Chain([*transforms, Reshape(shape, (dim,))]))


def matched(make: Callable[[int], Flow], budget: int) -> int:
    """The width at which `make(width)` has closest to so many parameters, at least 1.

    Their number is a polynomial of degree 2 in the width, so that three widths tell it.
    """
    widths = (1, 2, 3)
    counts = [num_parameters(nnx.eval_shape(functools.partial(make, w))) for w in widths]
    square, linear, constant = np.polyfit(widths, np.array(counts) - budget, 2)
    if abs(square) < 1e-6:
        return max(1, round(-constant / linear))
    root = math.sqrt(max(linear**2 - 4 * square * constant, 0))
    return max(1, round((root - linear) / (2 * square)))


def make_flows(
    shape: str, kinds: tuple[str, ...], dataset: Dataset, count: int, budget: int, seeds: int
) -> list[Flow]:
    """A flow for each kind of partition and each seed, all of one width."""
    make = {"flat": flat_flow, "image": image_flow}[shape]
    if kinds == (FULLY_CONNECTED,):
        (dim,) = dataset.event_shape
        bins = bins_for(dim, count, budget)
        data = np.asarray(dataset.model_space("train", evaluation_key("train")))
        options = dict(num_layers=count, num_bins=bins, data=data)
        return [fully_connected(dim, seed=seed, **options) for seed in range(seeds)]
    # Shapes, which parameters are counted by, are those of "half" where there is no matrix.
    counted = kinds[0] if len(kinds) == 1 else "half"
    width = matched(lambda w: make(counted, dataset.image_shape, count, w, 0), budget)
    return [
        make(kind, dataset.image_shape, count, width, s) for kind in kinds for s in range(seeds)
    ]


def fit(settings: SimpleNamespace, name: str, shape: str, kinds: tuple[str, ...], count: int):
    """Test nats `[kinds, seeds]` of the epochs best by validation, and the parameters."""
    dataset = load_dataset(name).first(ROWS)
    seeds = settings.seeds if shape == "flat" else 1
    flows = make_flows(shape, kinds, dataset, count, BUDGETS[name][shape], seeds)
    pool = jnp.asarray(dataset.train.x)
    scored = dataset.first(SCORED)
    validation, test = (scored.model_space(s, evaluation_key(s)) for s in ("validation", "test"))

    def draw(_, key):
        rows, noise = jax.random.split(key)
        x = pool[jax.random.randint(rows, (settings.batch,), 0, len(pool))]
        return dataset.preprocessing.forward(x + jax.random.uniform(noise, x.shape))

    def scores(flows: Flows) -> np.ndarray:
        return np.stack([flows.map(mean_nats, shared=(x,)) for x in (validation, test)])

    learned = kinds[0] in ("dense", "conv1x1", FULLY_CONNECTED)
    _, reports = train(
        stack(flows),
        draw,
        jnp.arange(len(flows)),
        steps=settings.steps - settings.steps % EPOCHS,
        rate=RATE,
        rule="relative" if learned else "ordinary",
        epochs=EPOCHS,
        each=scores,
    )
    found = np.nan_to_num(np.stack(reports), nan=-np.inf)
    best = found[:, 0].argmax(0)
    nats = found[best, 1, np.arange(len(flows))].reshape(len(kinds), seeds)
    return {"nats": nats, "epoch": best, "parameters": num_parameters(flows[0])}


def mean_nats(flow: Flow, x: jax.Array) -> jax.Array:
    return jax.lax.map(flow.log_prob, x, batch_size=250).mean()


def check_matrices(name: str, count: int) -> None:
    """Refuses more dense layers than a flat flow's parameters suffice for."""
    (dim,) = load_dataset(name).event_shape
    budget, of_one = BUDGETS[name]["flat"], dim * (dim + 1)
    if count * of_one >= budget:
        raise ValueError(
            f"--couplings got {count} for flat {name}, expected at most {(budget - 1) // of_one}: "
            f"that many dense layers alone have {count * of_one:,} parameters, and each flow is to "
            f"have {budget:,}."
        )


def measure(settings: SimpleNamespace, record: Record) -> dict:
    """(dataset, shape, partition, K) -> test nats by seed, and the parameters.

    Raises:
      ValueError: if the dense layers of a flat flow have more parameters than it may have.
    """
    wanted = {}
    for name in settings.datasets:
        if "flat" in settings.shapes:
            check_matrices(name, max(settings.couplings))
        for shape in settings.shapes:
            if shape == "flat":
                programs = [FIXED, ("dense",), (FULLY_CONNECTED,)]
            else:
                programs = [(kind,) for kind in IMAGES]
            for count in settings.couplings:
                for kinds in programs:
                    key = dict(dataset=name, shape=shape, kinds=kinds, couplings=count)
                    key |= dict(steps=settings.steps, batch=settings.batch)
                    key |= dict(seeds=settings.seeds if shape == "flat" else 1)
                    train = functools.partial(fit, settings, name, shape, kinds, count)
                    wanted[name, shape, kinds, count] = key, train
    found = {}
    for (name, shape, kinds, count), cell in record.cells(wanted).items():
        for kind, nats in zip(kinds, cell["nats"], strict=True):
            found[name, shape, kind, count] = {**cell, "nats": nats}
    return {"settings": settings, "cells": found}


def table(found: dict) -> str:
    settings, cells = found["settings"], found["cells"]
    header = ["data", "shape", "partition", "parameters", *(f"K = {k}" for k in settings.couplings)]
    rows = []
    for name, shape, kind in dict.fromkeys(key[:3] for key in cells):
        of = [cells[name, shape, kind, k] for k in settings.couplings]
        sizes = [cell["parameters"] for cell in of]
        values = [np.array(cell["nats"], float) for cell in of]
        texts = [
            f"{v.mean():.2f}" + (f" ± {np.ptp(v) / 2:.2f}" if len(v) > 1 else "") for v in values
        ]
        rows.append([name, shape, kind, f"{min(sizes):,} … {max(sizes):,}", *texts])
    head = "Test log-likelihood in nats, mean ± half the difference between seeds, higher is better"
    return f"{head}\n\n{tables.markdown(header, rows)}"


def draw(found: dict) -> Figure:
    settings, cells = found["settings"], found["cells"]
    groups = list(dict.fromkeys(key[:2] for key in cells))
    colors = list(dict.fromkeys((*FLAT, *IMAGES)))
    figure = Figure(figsize=(5 * len(groups), 4), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, (name, shape) in zip(panels, groups, strict=True):
        for kind in dict.fromkeys(key[2] for key in cells if key[:2] == (name, shape)):
            values = [
                np.array(cells[name, shape, kind, k]["nats"], float) for k in settings.couplings
            ]
            style = "k--" if kind == FULLY_CONNECTED else f"C{colors.index(kind)}o-"
            axes.plot(settings.couplings, [v.mean() for v in values], style, label=kind)
        axes.set(xscale="log", xlabel="couplings K", title=f"{name}, {shape}", ylabel="test nats")
        axes.set_xticks(settings.couplings, map(str, settings.couplings), minor=False)
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        axes.legend(fontsize=7)
    return figure


STUDY = Study("partitions", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
