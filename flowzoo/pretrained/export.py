"""From a workdir to a pretrained model."""

import datetime
import os
import pathlib

from etils import epath
from flax import nnx
import jax
import jax.numpy as jnp

import flowzoo
from flowzoo.pretrained.card import make_card
from flowzoo.pretrained.files import save_pretrained
from flowzoo.pretrained.shrink import shrink
from flowzoo.raw_flow import on_raw_data
from flowzoo.reporting import results
from flowzoo.reporting.records import read_workdir
from flowzoo.training.evaluation import test_results
from flowzoo.training.load import load_run

DTYPES = ("float32", "bfloat16", "float16")

# What is known about the data sets' licences.
DATA = {
    "mnist": (
        "MNIST: 28 × 28 grey images of handwritten digits (LeCun, Cortes, Burges, 1998).",
        "copyright Yann LeCun and Corinna Cortes, distributed as CC BY-SA 3.0",
    ),
    "fashion_mnist": (
        "Fashion-MNIST: 28 × 28 grey images of clothes (Xiao, Rasul, Vollgraf, 2017).",
        "MIT",
    ),
    "cifar10": (
        "CIFAR-10: 32 × 32 colour images of ten kinds of things (Krizhevsky, 2009).",
        "none stated by its authors",
    ),
    "digits": (
        "8 × 8 grey images of handwritten digits (Alpaydin and Kaynak, UCI, 1998), as in "
        "scikit-learn.",
        "CC BY 4.0",
    ),
    "bsds300": (
        "8 × 8 patches of the Berkeley Segmentation Data Set BSDS300 (Martin, Fowlkes, Tal, Malik, "
        "2001).",
        "offered by its authors for non-commercial research and education",
    ),
    "ica": (
        "Sources that are known, mixed by a formula, `flowzoo/data/mixing.py`.",
        "none needed",
    ),
    "toy": ("Points drawn from a formula, `flowzoo/data/toy.py`.", "none needed"),
    "uci": (
        "{} of the UCI repository, in the preprocessing of Papamakarios et al. (arXiv 1705.07057).",
        "CC BY 4.0",
    ),
}
INTENDED_USE = (
    "Research and teaching on normalizing flows: likelihoods and samples to look at, a baseline to "
    "compare with, a start for further training."
)
LIMITS = (
    "It is the density of this data set and of nothing else: samples repeat its biases and are not "
    "fit for measurements. Likelihood is no detector of unusual inputs: flows can give simple "
    "inputs from elsewhere a higher one than their own data."
)


def export(
    workdir: epath.PathLike,
    directory: str | os.PathLike,
    *,
    command: str | None = None,
    commit: str | None = None,
    hardware: str | None = None,
    dtype: str = "float32",
    data_dir: str | None = None,
) -> pathlib.Path:
    """Makes a pretrained model of a finished run and measures it on the test split.

    Args:
      workdir: what `python -m flowzoo.train` wrote.
      directory: a new directory; its name is the model's name.
      command: the command that trained it, by default what the run says.
      commit: the commit of flowzoo that trained it, by default what the run says.
      hardware: what trained it, by default what the run says.
      dtype: what trained matrices are stored as, one of `DTYPES`.
      data_dir: where the data lie, if not where the run found them.

    Returns:
      The directory.

    Raises:
      FileExistsError: if the directory exists.
      FileNotFoundError: if the workdir, a checkpoint or the data are not there.
      ValueError: if the run is not finished, or the dtype is unknown.
    """
    if dtype not in DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}, expected one of {', '.join(DTYPES)}.")
    if pathlib.Path(directory).exists():
        raise FileExistsError(f"{directory} exists; choose another name, or delete it first.")
    flow, dataset, config = load_run(workdir, data_dir=data_dir)
    run = read_workdir(workdir)
    command = command or run.command
    if not command:
        raise ValueError("The run does not say how it was trained; pass the command.")
    flow = _rounded(shrink(flow), dtype)
    metrics = test_results(flow, dataset)
    description, data_license = _data(dataset.name)
    raw = on_raw_data(flow, dataset)
    identity = results.identity(dataset, config)
    raw.card = make_card(
        raw,
        name=pathlib.Path(directory).name,
        run={"name": config.name, "title": config.title},
        model=config.model.to_dict(),
        seed=config.seed,
        dtype=dtype,
        dataset=dataset.name,
        num_parameters=metrics.pop("num_parameters"),
        metrics=metrics | {"num_events": len(dataset.test)},
        published=identity["published"],
        data={"description": description, "note": identity["data_note"], "license": data_license},
        training={
            "command": command,
            "commit": commit or run.commit or f"flowzoo {flowzoo.__version__}",
            "hardware": hardware or run.device,
            "wall_seconds": run.wall_seconds,
            "epochs": run.epochs,
            "best_epoch": run.best_epoch,
            "versions": run.versions or results.versions(),
            "exported": datetime.date.today().isoformat(),
        },
        intended_use=INTENDED_USE,
        limits=LIMITS,
        license="Apache-2.0",
    )
    # A path of the machine that trained the model is of no use elsewhere.
    config.dataset.data_dir = ""
    return save_pretrained(raw, directory, config=config.to_dict())


def _rounded(flow, dtype: str):
    """A copy whose trained matrices are what `dtype` makes of them."""
    graph, params, rest = nnx.split(flow, nnx.Param, ...)
    rounded = jax.tree.map(
        lambda a: a.astype(jnp.dtype(dtype)).astype(a.dtype) if a.ndim >= 2 else a, params
    )
    return nnx.merge(graph, rounded, rest)


def _data(name: str) -> tuple[str, str]:
    name = name.removesuffix("_png")  # The same images, mirrored elsewhere.
    description, data_license = DATA.get(name.split("/")[0], DATA["uci"])
    return description.format(name.upper()), data_license
