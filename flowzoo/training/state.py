"""What a run carries from step to step, and how its arrays are named."""

from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import optax

Arrays = dict[str, jax.Array]


class Variables(NamedTuple):
    """The arrays of a flow: trained, running statistics, and fixed."""

    params: nnx.State
    statistics: nnx.State
    constants: nnx.State


class Best(NamedTuple):
    """The variables with the highest validation log-likelihood so far."""

    params: nnx.State
    statistics: nnx.State
    nats: jax.Array
    epoch: jax.Array


class TrainState(NamedTuple):
    """All that a run needs to go on bit for bit; randomness follows from the seed and the step."""

    step: jax.Array
    key: jax.Array
    variables: Variables
    opt_state: Any
    average: nnx.State | None
    best: Best


def split(flow: nnx.Module) -> tuple[nnx.GraphDef, Variables]:
    """Takes a flow apart into its structure and its arrays."""
    graph, *states = nnx.split(flow, nnx.Param, nnx.BatchStat, ...)
    return graph, Variables(*states)


def merge(graph: nnx.GraphDef, variables: Variables) -> nnx.Module:
    """Puts a flow together again."""
    return nnx.merge(graph, *variables)


def initial_state(
    variables: Variables,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    *,
    parameter_average: bool,
) -> TrainState:
    """The state before the first step."""
    params, statistics = variables.params, variables.statistics
    return TrainState(
        step=jnp.int32(0),
        key=jax.random.key_data(key),
        variables=variables,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if parameter_average else None,
        best=Best(
            *jax.tree.map(jnp.copy, (params, statistics)), jnp.float32(-jnp.inf), jnp.int32(0)
        ),
    )


def to_arrays(tree: Any) -> Arrays:
    """The leaves of a tree by name: keys, indices and attributes joined by "/"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves}


def from_arrays(arrays: Arrays, like: Any) -> Any:
    """Puts named arrays into the structure of `like`.

    Raises:
      ValueError: if a name is missing or unexpected, or an array has another shape.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    names = [_name(path) for path, _ in leaves]
    missing, unexpected = set(names) - set(arrays), set(arrays) - set(names)
    if missing or unexpected:
        raise ValueError(
            "The arrays do not belong to this model: "
            f"missing {_list(missing)}; unexpected {_list(unexpected)}."
        )
    for name, (_, leaf) in zip(names, leaves):
        if arrays[name].shape != leaf.shape:
            raise ValueError(
                f"The array {name} has shape {arrays[name].shape}, but the model expects "
                f"{leaf.shape}: the checkpoint comes from a model of another size."
            )
    return jax.tree.unflatten(structure, [arrays[name] for name in names])


def _name(path: tuple) -> str:
    if path and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _list(names: set[str]) -> str:
    shown = sorted(names)[:5]
    return (", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")) or "none"
