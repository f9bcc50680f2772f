"""Any flow as one safetensors file: the arrays, and in the metadata how to build it again."""

import json
import os
import pathlib
import tempfile

from flax import nnx
import jax

from flowzoo.flow import Flow
from flowzoo.numerics.named_arrays import to_arrays
from flowzoo.pretrained import tensors
from flowzoo.pretrained.card import Card, make_card, skeleton_of_flow
from flowzoo.pretrained.files import FORMAT_VERSION, assemble, check_version, fill, stored_arrays
from flowzoo.raw_flow import RawFlow

# Keys of the metadata. A file holds a card, or a recipe, or neither if none built the flow.
CARD, RECIPE, VERSION, DIGEST = (
    "flowzoo_card",
    "flowzoo_recipe",
    "flowzoo_format_version",
    "flowzoo_sha256",
)


def save(flow: Flow | RawFlow, path: str | os.PathLike) -> None:
    """Writes a flow as one file, which `flowzoo.load` reads.

    What `flowzoo.build`, `flowzoo.fit`, `flowzoo.load_pretrained` and `load_run` return says how it
    was made, and the file says it too. Of a flow put together by hand the file holds the arrays
    alone. The file is written whole or not at all; one that is there is replaced.

    Args:
      flow: a `Flow`, or a `RawFlow`, whose preprocessing is saved with it.
      path: a file, by custom with the ending `.safetensors`.

    Raises:
      OSError: if the file cannot be written.
      ValueError: if `flow` is no flow.

    Example:
      >>> import os, tempfile
      >>> from flax import nnx
      >>> import flowzoo
      >>> path = os.path.join(tempfile.mkdtemp(), "mine.safetensors")
      >>> flow = flowzoo.build({"name": "maf", "hidden_sizes": (8,)}, (2,), rngs=nnx.Rngs(0))
      >>> flowzoo.save(flow, path)
      >>> flowzoo.load(path).event_shape
      (2,)
    """
    if not isinstance(flow, Flow | RawFlow):
        raise ValueError(f"save got a {type(flow).__name__}, expected a Flow or a RawFlow.")
    known = {VERSION: str(FORMAT_VERSION)}
    if isinstance(flow, Flow):
        arrays = to_arrays(nnx.state(flow))
        if flow.recipe is not None:
            known[RECIPE] = flow.recipe
    elif isinstance(flow.card, Card):
        arrays = stored_arrays(flow)
        known[CARD] = flow.card.text
    else:
        arrays = to_arrays(nnx.state(flow))
        if flow.flow.recipe is not None:
            model = json.loads(flow.flow.recipe)["model"]
            known[CARD] = make_card(flow, name=model["name"], model=model, seed=0).text
    arrays = jax.device_get(arrays)
    known[DIGEST] = tensors.digest(arrays, *_texts(known))
    path = pathlib.Path(path)
    with tempfile.NamedTemporaryFile(dir=path.absolute().parent, delete=False) as file:
        try:
            file.write(tensors.to_bytes(arrays, known))
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def load(path: str | os.PathLike, *, like: Flow | RawFlow | None = None) -> Flow | RawFlow:
    """Loads what `flowzoo.save` wrote.

    Args:
      path: the file.
      like: for a flow that no recipe built: one that was built as that one was; its arrays are
        replaced in a copy.

    Returns:
      A `RawFlow` if one was saved, else a `Flow`.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is damaged, comes from elsewhere or from a newer flowzoo, or holds another
        flow than one like `like`.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file, expected one that flowzoo.save wrote.")
    arrays, known = tensors.from_bytes(path.read_bytes(), str(path))
    if VERSION not in known:
        raise ValueError(f"{path} was not written by flowzoo, expected what flowzoo.save wrote.")
    version = int(known[VERSION]) if known[VERSION].isdecimal() else known[VERSION]
    check_version(version, str(path))
    # Version 1 had no digest.
    if version > 1 and known.get(DIGEST) != tensors.digest(arrays, *_texts(known)):
        raise ValueError(f"{path} is not what flowzoo.save wrote: it was damaged or changed.")
    if like is not None:
        return fill(lambda: nnx.split(like), arrays, str(path))
    if CARD in known:
        return assemble(Card(known[CARD]), arrays, str(path))
    if RECIPE not in known:
        raise ValueError(
            f"{path} holds the arrays of a flow that no recipe built, and so cannot say how to "
            "build it: pass like=, a flow built as that one was."
        )
    return fill(lambda: skeleton_of_flow(known[RECIPE]), arrays, str(path))


def _texts(known: dict[str, str]) -> list[str]:
    return [f"{key} {value}" for key, value in sorted(known.items()) if key != DIGEST]
