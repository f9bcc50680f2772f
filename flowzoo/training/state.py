"""What a run carries from step to step."""

from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import optax


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
