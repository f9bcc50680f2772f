"""A model as a directory, every file of it under a SHA-256.

    manifest.json            format version, and the SHA-256 of every other file
    card.json                the model card; README.md is the same for people
    config.json              the config of the run that trained the model, if there was one
    weights.safetensors.gz   the arrays of the model, without any optimizer's; gunzip makes a file
                             that other programs read

Format version 2. Version 1, which is still read, had the arrays in an Orbax folder `checkpoint`,
and one recipe for all fully connected flows.
"""

from collections.abc import Callable
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

from etils import epath
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.named_arrays import Arrays, from_arrays, to_arrays
from flowzoo.pretrained import tensors
from flowzoo.pretrained.card import Card, markdown, skeleton
from flowzoo.raw_flow import RawFlow
from flowzoo.transforms.transform import mark_fitted

FORMAT_VERSION = 2
MANIFEST, CARD, CONFIG, README, WEIGHTS = (
    "manifest.json",
    "card.json",
    "config.json",
    "README.md",
    "weights.safetensors.gz",
)


def save_pretrained(
    model: RawFlow, directory: os.PathLike | str, *, config: dict[str, Any] | None = None
) -> pathlib.Path:
    """Writes a model that has a card as a directory that `load_pretrained` reads.

    The directory appears whole or not at all. Trained matrices are stored in the card's `dtype`, by
    default float32; other arrays stay as they are.

    Args:
      model: what `load_pretrained` or `fit` returned.
      directory: a new directory.
      config: the config of the run that trained the model.

    Returns:
      The directory.

    Raises:
      FileExistsError: if the directory exists.
      ValueError: if the model has no card.
    """
    directory = pathlib.Path(directory).absolute()
    if directory.exists():
        raise FileExistsError(f"{directory} exists; choose another directory, or delete it first.")
    arrays = stored_arrays(model)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as folder:
        staging = pathlib.Path(folder, "model")
        staging.mkdir()
        # Masks and merged whitenings leave many zeros.
        (staging / WEIGHTS).write_bytes(gzip.compress(tensors.to_bytes(arrays), mtime=0))
        (staging / CARD).write_text(model.card.text + "\n", encoding="utf-8")
        (staging / README).write_text(markdown(model.card), encoding="utf-8")
        if config is not None:
            (staging / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        manifest = {
            "format_version": FORMAT_VERSION,
            "sha256": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(staging.iterdir())
            },
        }
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.move(staging, directory)
    return directory


def read_directory(directory: epath.PathLike) -> RawFlow:
    """Verifies a directory and loads the model in it.

    Raises:
      FileNotFoundError: if a file is missing.
      ValueError: if a file is damaged, the format is newer than this version of flowzoo, or the
        arrays are not those of the model.
    """
    directory = epath.Path(directory).absolute()
    verify(directory)
    card = read_card(directory)
    if (directory / WEIGHTS).exists():
        data = gzip.decompress((directory / WEIGHTS).read_bytes())
        arrays, _ = tensors.from_bytes(data, str(directory / WEIGHTS))
    else:
        arrays = _read_orbax(directory)
    return assemble(card, arrays, str(directory))


def _read_orbax(directory: epath.Path) -> Arrays:
    """The arrays of a model of format version 1."""
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(directory / "checkpoint")


def read_card(directory: epath.PathLike) -> Card:
    """The card in a directory.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is damaged.
    """
    path = epath.Path(directory) / CARD
    if not path.exists():
        raise FileNotFoundError(f"{directory} has no {CARD}; it does not hold a pretrained model.")
    return Card(path.read_text().rstrip())


def assemble(card: Card, arrays: Arrays, where: str) -> RawFlow:
    """Puts arrays into the model of a card.

    Raises:
      ValueError: if this version cannot build the model, or the arrays are not those of the model.
    """
    return fill(lambda: skeleton(card), arrays, where)


def fill(
    skeleton: Callable[[], tuple[nnx.GraphDef, nnx.State]], arrays: Arrays, where: str
) -> nnx.Module:
    """Puts arrays into a structure; errors as for `assemble`."""
    try:
        graph, like = skeleton()
        state = from_arrays(arrays, like)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The model in {where} cannot be built: {error} It may need a newer flowzoo."
        ) from error

    def place(a, b):
        # Matrices may be stored in 16 bits; a flow in float64 stays one where JAX has it.
        dtype = jax.dtypes.canonicalize_dtype(jnp.promote_types(a.dtype, b.dtype))
        return jnp.asarray(a, dtype)

    model = nnx.merge(graph, jax.tree.map(place, state, like))
    mark_fitted(model)
    return model


def stored_arrays(model: RawFlow) -> Arrays:
    """The arrays of a model by name, trained matrices in the `dtype` of its card.

    Raises:
      ValueError: if the model has no card.
    """
    if not isinstance(model.card, Card):
        raise ValueError("The model has no card, which says how to build it again; give it one.")
    dtype = jnp.dtype(model.card.get("dtype", "float32"))
    trained = to_arrays(nnx.state(model, nnx.Param))
    return {
        name: np.asarray(a, dtype if name in trained and a.ndim >= 2 else None)
        for name, a in to_arrays(nnx.state(model)).items()
    }


def read_manifest(directory: epath.Path) -> dict[str, str]:
    """The SHA-256 of every file.

    Raises:
      FileNotFoundError: if there is no manifest.
      ValueError: if it is damaged or its format newer than this version.
    """
    path = directory / MANIFEST
    if not path.exists():
        raise FileNotFoundError(
            f"{directory} has no {MANIFEST}; it does not hold a pretrained model. A workdir "
            "becomes one by `python -m flowzoo.pretrained export WORKDIR NAME`."
        )
    return parse_manifest(path.read_bytes(), str(path))


def parse_manifest(data: bytes, where: str) -> dict[str, str]:
    """As `read_manifest`, from the bytes of the file."""
    try:
        manifest = json.loads(data)
        version, files = manifest["format_version"], dict(manifest["sha256"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{where} is not a manifest of a pretrained model; it was damaged."
        ) from None
    check_version(version, where)
    for name in files:
        if pathlib.PurePosixPath(name).is_absolute() or ".." in name.split("/"):
            raise ValueError(f"{where} names the file {name!r}, which lies outside the model.")
    return files


def check_version(version: object, where: str) -> None:
    """Raises ValueError unless this version of flowzoo reads that format version."""
    if version not in range(1, FORMAT_VERSION + 1):
        raise ValueError(
            f"{where} has format version {version!r}, but this flowzoo reads versions 1 to "
            f"{FORMAT_VERSION}: install a newer flowzoo, or get the pretrained model again."
        )


def verify(directory: epath.Path) -> None:
    """Checks every file against the manifest.

    Raises:
      FileNotFoundError: if one is missing.
      ValueError: if one is damaged, or the manifest is.
    """
    for name, expected in read_manifest(directory).items():
        path = directory / name
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: get the pretrained model again.")
        check_hash(path.read_bytes(), expected, str(path))


def check_hash(data: bytes, expected: str, where: str) -> None:
    """Raises ValueError unless `data` have the expected SHA-256."""
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(
            f"{where} has SHA-256 {found[:12]}…, expected {expected[:12]}…: it was damaged or "
            "changed; get the pretrained model again."
        )
