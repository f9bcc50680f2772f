"""Reading a data frame that an old pandas pickled, without pandas."""

import codecs
import pathlib
import pickle

import numpy as np

_ARRAY, _SCALAR = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("__builtin__", "slice"): slice,
    ("builtins", "slice"): slice,
    ("_codecs", "encode"): codecs.encode,
}


def read_frame(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns `{column: values [N]}` of a pickled data frame.

    Understood is the format of pandas 0.14.1 and its successors up to 1.2. Nothing but NumPy arrays
    is built: pandas' objects become records of what they were made from, and any other class is
    refused, so that a pickle can run no code.

    Raises:
      ValueError: if the file is damaged or no such pickle.
    """
    try:
        with open(path, "rb") as file:
            frame = _Unpickler(file, encoding="latin1").load()
        manager = frame.state["_data"].state[3]["0.14.1"]
        columns, values = _labels(manager["axes"][0]), {}
        for block in manager["blocks"]:
            places = block["mgr_locs"]
            if isinstance(places, slice):
                places = range(*places.indices(len(columns)))
            for place, row in zip(places, block["values"], strict=True):
                values[columns[place]] = row
        return {column: values[column] for column in columns}
    except (pickle.UnpicklingError, EOFError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) is not a data frame that pandas pickled, or is "
            f"damaged ({type(error).__name__}: {error}): fetch it again."
        ) from error


class _Record:
    """Stands for an object of pandas: the arguments it was made from, and its state."""

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args, self.state = args, None
        return self

    def __init__(self, *args):
        pass

    def __setstate__(self, state):
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module.split(".")[0] == "pandas":
            return _Record
        raise pickle.UnpicklingError(f"it holds a {module}.{name}")


def _labels(index: _Record) -> list[str]:
    """The labels of a pandas index, which `_new_Index(class, {"data": labels, …})` makes."""
    return [str(label) for label in index.args[1]["data"]]
