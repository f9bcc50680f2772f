"""Pickles of data frames as pandas 0.14 to 1.2 under Python 2 wrote them."""

import pickle

import numpy as np


class _Index:
    pass


def _new_index(cls, state):
    raise NotImplementedError("a name to pickle only")


class _Pickled:
    """An object of pandas whose state is a given one."""

    def __init__(self, state):
        self.state = state

    def __getstate__(self):
        return self.state


class _Frame(_Pickled):
    pass


class _Manager(_Pickled):
    pass


class _Labels:
    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return _new_index, (_Index, {"data": self.data, "name": None})


_NAMES = {
    _Index: "pandas.core.index\nIndex",
    _new_index: "pandas.core.index\n_new_Index",
    _Frame: "pandas.core.frame\nDataFrame",
    _Manager: "pandas.core.internals\nBlockManager",
}


def pickle_frame(columns: list[str], values: np.ndarray) -> bytes:
    """A frame of `values: [N, C]`: the first column is a block of its own, the others another."""
    labels = _Labels(np.array(columns, object))
    axes = [labels, _Labels(np.arange(len(values)))]
    blocks = [
        {"values": values[:, :1].T, "mgr_locs": np.array([0])},
        {"values": values[:, 1:].T, "mgr_locs": slice(1, len(columns), 1)},
    ]
    state = (
        axes,
        [block["values"] for block in blocks],
        [labels, labels],
        {"0.14.1": {"axes": axes, "blocks": blocks}},
    )
    frame = _Frame({"_data": _Manager(state), "_typ": "dataframe", "_metadata": []})
    content = pickle.dumps(frame, protocol=2)
    # In this protocol a class is its module and its name, each ended by a new line.
    for thing, name in _NAMES.items():
        ours = f"c{thing.__module__}\n{thing.__qualname__}\n"
        content = content.replace(ours.encode(), f"c{name}\n".encode())
    return content.replace(b"cnumpy._core.", b"cnumpy.core.")
