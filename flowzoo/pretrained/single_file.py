"""A model as one safetensors file: the arrays, and the card in the file's metadata."""

import os
import pathlib

import numpy as np

from flowzoo.pretrained.card import Card
from flowzoo.pretrained.files import FORMAT_VERSION, assemble, stored_arrays
from flowzoo.raw_flow import RawFlow

CARD, VERSION = "flowzoo_card", "flowzoo_format_version"


def save_safetensors(model: RawFlow, path: str | os.PathLike) -> None:
    """Writes a model that has a card as one file.

    Raises:
      ValueError: if the model has no card.
    """
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(a) for name, a in stored_arrays(model).items()}
    metadata = {CARD: model.card.text, VERSION: str(FORMAT_VERSION)}
    save_file(arrays, path, metadata)


def load_safetensors(path: str | os.PathLike) -> RawFlow:
    """Loads what `save_safetensors` wrote.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, comes from elsewhere, or from a newer flowzoo.
    """
    from safetensors import SafetensorError, safe_open

    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file, expected a .safetensors file.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file, or was damaged: {error}.") from None
    if CARD not in metadata:
        raise ValueError(f"{path} holds no model card, expected a file that flowzoo wrote.")
    if int(metadata[VERSION]) > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {metadata[VERSION]}, but this flowzoo reads versions up to "
            f"{FORMAT_VERSION}: install a newer flowzoo."
        )
    return assemble(Card(metadata[CARD]), arrays, str(path))
