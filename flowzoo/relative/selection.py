"""Square matrices of a pytree, and the biases beside them, selected by path."""

from collections.abc import Callable, Iterable, Mapping
import fnmatch

import jax
import jax.numpy as jnp
import optax

from flowzoo.numerics.named_arrays import leaf_path

Path = tuple[str, ...]


def as_patterns(weights: str | Iterable[str]) -> tuple[str, ...]:
    """The paths as a tuple; raises ValueError if there are none."""
    patterns = (weights,) if isinstance(weights, str) else tuple(weights)
    if not patterns:
        raise ValueError(
            "The relative gradient got no paths in `weights`: name the square matrices it is for, "
            "for example weights='params/Dense_*/kernel'."
        )
    return patterns


def leaves_by_path(tree: optax.Params) -> dict[Path, jax.Array]:
    """The leaves in the order of flattening, keyed by path."""
    return {leaf_path(keys): leaf for keys, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def select_by_name(leaves: Mapping[Path, jax.Array], patterns: tuple[str, ...]) -> list[Path]:
    """The paths that match a pattern; every pattern must match one."""
    names = {path: "/".join(path) for path in leaves}
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names.values()):
            listed = ", ".join(repr(name) for name in list(names.values())[:12])
            raise ValueError(
                f"The relative gradient was asked for {pattern!r}, which matches no parameter. "
                f"The parameters are {listed}{', …' if len(names) > 12 else ''}."
            )
    return [path for path, name in names.items() if any(_matches(name, p) for p in patterns)]


def select(
    leaves: Mapping[Path, jax.Array], patterns: tuple[str, ...], bias_names: Mapping[str, str]
) -> dict[Path, Path | None]:
    """Maps the path of each selected matrix to that of its bias, after checking their shapes."""
    names = {path: "/".join(path) for path in leaves}
    selected = {}
    for path in select_by_name(leaves, patterns):
        name = names[path]
        shape = jnp.shape(leaves[path])
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ValueError(
                f"The relative gradient was asked for {name!r} of shape {shape}, expected a square "
                "matrix [..., D, D]: select only the weights of invertible linear layers."
            )
        bias = path[:-1] + (bias_names[path[-1]],) if path and path[-1] in bias_names else None
        if bias not in leaves:
            bias = None
        elif jnp.shape(leaves[bias]) != shape[:-1]:
            raise ValueError(
                f"The bias {names[bias]!r} beside {name!r} has shape {jnp.shape(leaves[bias])}, "
                f"expected {shape[:-1]}: name the right one in `bias_names`, or pass "
                "bias_names={} if the layer has none."
            )
        elif bias in selected.values():
            raise ValueError(
                f"The bias {names[bias]!r} is beside two selected matrices, one of them {name!r}: "
                "say in `bias_names` which one it belongs to."
            )
        selected[path] = bias
    return selected


def on_selected(
    select_from: Callable[[Mapping[Path, jax.Array]], Iterable],
    change: Callable[[Iterable, Mapping[Path, jax.Array], dict[Path, jax.Array]], None],
) -> optax.GradientTransformationExtraArgs:
    """A transformation without a state that changes some of the updates.

    Args:
      select_from: what is selected among the parameters; raises ValueError on a wrong one.
      change: takes what was selected, parameters and updates by path, and changes the updates.

    Raises:
      ValueError: in `init` and `update` as `select_from`; in `update` without `params`.
    """

    def init(params: optax.Params) -> optax.EmptyState:
        leaves = leaves_by_path(params)
        if leaves:  # optax probes `init` with placeholders that have no leaves.
            select_from(leaves)
        return optax.EmptyState()

    def update(
        updates: optax.Updates,
        state: optax.EmptyState,
        params: optax.Params | None = None,
        **extra_args,
    ) -> tuple[optax.Updates, optax.EmptyState]:
        del extra_args
        if params is None:
            raise ValueError(
                "The relative gradient depends on the parameters' values: call "
                "`update(gradients, state, params)`, got params=None."
            )
        values, new = leaves_by_path(params), leaves_by_path(updates)
        change(select_from(values), values, new)
        return jax.tree.structure(updates).unflatten(new.values()), state

    return optax.GradientTransformationExtraArgs(init, update)


def _matches(name: str, pattern: str) -> bool:
    return _match_parts(name.split("/"), pattern.split("/"))


def _match_parts(name: list[str], pattern: list[str]) -> bool:
    if not pattern or not name:
        return not name and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _match_parts(name, pattern[1:]) or _match_parts(name[1:], pattern)
    return fnmatch.fnmatchcase(name[0], pattern[0]) and _match_parts(name[1:], pattern[1:])
