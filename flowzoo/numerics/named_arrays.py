"""Trees of arrays as flat dictionaries, which is how files hold them."""

from typing import Any

import jax

Arrays = dict[str, jax.Array]


def to_arrays(tree: Any) -> Arrays:
    """The leaves of a tree by name: keys, indices and attributes joined by "/"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(leaf_path(keys)): leaf for keys, leaf in leaves}


def from_arrays(arrays: Arrays, like: Any) -> Any:
    """Puts named arrays into the structure of `like`.

    Raises:
      ValueError: if a name is missing or unexpected, or an array has another shape.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = ["/".join(leaf_path(keys)) for keys, _ in leaves]
    missing, unexpected = set(names) - set(arrays), set(arrays) - set(names)
    if missing or unexpected:
        raise ValueError(
            "The arrays do not belong to this model: "
            f"missing {_list(missing)}; unexpected {_list(unexpected)}."
        )
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if arrays[name].shape != leaf.shape:
            raise ValueError(
                f"The array {name} has shape {arrays[name].shape}, but the model expects "
                f"{leaf.shape}: the checkpoint comes from a model of another size."
            )
    return jax.tree.unflatten(structure, [arrays[name] for name in names])


def leaf_path(keys: tuple) -> tuple[str, ...]:
    """What leads to a leaf: keys, indices and attributes, without a variable's own `.value`."""
    if keys and keys[-1] == jax.tree_util.GetAttrKey("value"):
        keys = keys[:-1]
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in keys)


def _list(names: set[str]) -> str:
    shown = sorted(names)[:5]
    return (", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "none"
