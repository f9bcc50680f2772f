"""Named arrays as the bytes of a safetensors file, and back."""

import hashlib
import json

import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.named_arrays import Arrays

# Those of a flow; safetensors' own reader for NumPy knows no bfloat16.
DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "U32": np.uint32,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def to_bytes(arrays: Arrays, metadata: dict[str, str] | None = None) -> bytes:
    """The arrays as a safetensors file."""
    from safetensors.numpy import save

    # `np.ascontiguousarray` would make a vector of a scalar, and safetensors copies memory as it
    # lies.
    return save({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata)


def from_bytes(data: bytes, where: str) -> tuple[Arrays, dict[str, str]]:
    """The arrays in a safetensors file, and its metadata.

    Raises:
      ValueError: if it is damaged, or holds an array of another kind than those of a flow.
    """
    from safetensors import SafetensorError, deserialize

    try:
        found = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"{where} is not a safetensors file, or was damaged: {error}.") from None
    for name, array in found:
        if array["dtype"] not in DTYPES:
            raise ValueError(
                f"{where} holds {name} as {array['dtype']}, expected one of {', '.join(DTYPES)}."
            )
    # The reader keeps the metadata to itself: a length in eight bytes, then a header in JSON.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {
        name: np.frombuffer(array["data"], DTYPES[array["dtype"]]).reshape(array["shape"])
        for name, array in found
    }, header.get("__metadata__", {})


def digest(arrays: Arrays, *texts: str) -> str:
    """The SHA-256 of some texts and of the arrays: their names, dtypes, shapes and numbers."""
    found = hashlib.sha256()
    for text in texts:
        found.update(f"{len(text)} {text}".encode())
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        found.update(f"{name} {a.dtype} {a.shape} ".encode())
        found.update(a.tobytes())
    return found.hexdigest()
