"""Several flows of one architecture, trained in one vmapped program."""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowzoo.flow import Flow
from flowzoo.training.state import Variables, merge, split
from flowzoo.transforms import with_modes
from flowzoo.transforms.transform import Transform
from flowzoo.zoo import build

# Rows of a Jacobian's batch that are decomposed at once.
CHUNK = 64
# Bins of a spline that are enough to bend, and the most that a spline takes.
BINS = 4, 100


class Flows(NamedTuple):
    """Flows of one structure: that structure, and their arrays stacked along a first axis."""

    graph: nnx.GraphDef
    variables: Variables

    def __getitem__(self, i: int) -> Flow:
        """One of them."""
        return merge(self.graph, jax.tree.map(lambda a: a[i], self.variables))

    def map(self, function: Callable, *data: Any, shared: tuple = ()) -> Any:
        """`function(flow, *data, *shared)` of each flow, results stacked along a first axis.

        The data are stacked too, what is shared is the same for all. Another call with the same
        function does not compile it again.
        """
        return _map(function, self.graph, self.variables, data, shared)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _map(function, graph, variables, data, shared):
    def one(variables, data):
        return function(merge(graph, variables), *data, *shared)

    return jax.vmap(one)(variables, data)


def stack(flows: Sequence[Flow]) -> Flows:
    """Puts flows of one structure together."""
    graphs, variables = zip(*map(split, flows), strict=True)
    if any(graph != graphs[0] for graph in graphs):
        raise ValueError("The flows to be stacked differ in structure, expected the same.")
    return Flows(graphs[0], jax.tree.map(lambda *arrays: jnp.stack(arrays), *variables))


def fully_connected(
    dim: int, *, num_layers: int, num_bins: int = 16, data: np.ndarray, seed: int = 0
) -> Flow:
    """The zoo's fully connected flow with splines, whitened by data `[N, dim]`."""
    spline = {"name": "spline", "num_bins": num_bins}
    config = {"name": "fully_connected_learned", "num_layers": num_layers, "inner": spline}
    flow = build(config, (dim,), rngs=nnx.Rngs(seed))
    flow.initialize(jnp.asarray(data, jnp.float32))
    return flow


def bins_for(dim: int, num_layers: int, parameters: int) -> int:
    """The bins with which `fully_connected` has about so many parameters, from 4 to 100.

    Of each coordinate there are a row of every W and its bias, and 3 bins − 1 numbers of each map.
    """
    of_maps = parameters / dim - num_layers * (dim + 1)
    bins = round((of_maps / (num_layers + 1) + 1) / 3)
    return min(max(bins, BINS[0]), BINS[1])


def negative_log_likelihood(flow: Flow, x: jax.Array, data: Any) -> jax.Array:
    """The mean over a batch, in nats; the usual loss of `train`."""
    del data
    return -flow.log_prob(x).mean()


def train(
    flows: Flows,
    draw: Callable[[Any, jax.Array], jax.Array],
    data: Any,
    *,
    steps: int,
    rate: float,
    loss: Callable[..., jax.Array] = negative_log_likelihood,
    rule: str = "ordinary",
    seed: int = 0,
    epochs: int = 1,
    each: Callable[[Flows], Any] | None = None,
) -> tuple[Flows, list[Any]]:
    """Adam, gradients clipped to norm 10, the rate falling to zero along a cosine.

    Args:
      flows: where they start.
      draw: from the data of one flow and a key to a batch `[B, *event_shape]`.
      data: arrays with one entry for each flow along the first axis.
      steps: of each flow, a multiple of the epochs.
      rate: the learning rate at the start.
      loss: of a flow, a batch, and the flow's data.
      rule: the gradient rule of dense layers, see `flowzoo.relative.fused`.
      seed: of the batches.
      epochs: how often `each` is called, after as many steps each time.
      each: is called with the flows before training and after each epoch.

    Returns:
      The trained flows, and what `each` returned.
    """
    canonical = jax.default_backend() == "cpu"
    graph = split(with_modes(flows[0], gradient_rule=rule, canonical_gradients=canonical))[0]
    optimizer = optax.chain(
        optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(rate, steps))
    )

    def step(carry, key, variables, data):
        params, state = carry
        x = draw(data, key)

        def value(params):
            return loss(merge(graph, variables._replace(params=params)), x, data)

        updates, state = optimizer.update(jax.grad(value)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0, 0, 0))
    def run(variables, state, keys, data):
        carry = variables.params, state
        (params, state), _ = jax.lax.scan(
            lambda carry, key: step(carry, key, variables, data), carry, keys
        )
        return variables._replace(params=params), state

    variables = flows.variables
    state = jax.vmap(optimizer.init)(variables.params)
    count = len(jax.tree.leaves(variables)[0])
    keys = jax.random.split(jax.random.key(seed), (count, epochs, steps // epochs))
    reports = [] if each is None else [each(flows)]
    for epoch in range(epochs):
        variables, state = run(variables, state, keys[:, epoch], data)
        flows = Flows(flows.graph, variables)
        if each is not None:
            reports.append(each(flows))
    return flows, reports


def condition_numbers(transform: Transform, x: jax.Array) -> jax.Array:
    """`σ_max / σ_min` of the Jacobian `∂f/∂x` at each event of `x: [N, *event_shape]`: `[N]`."""

    def one(event):
        def flat(v):
            return transform.forward(v.reshape(event.shape)).reshape(-1)

        values = jnp.linalg.svd(jax.jacfwd(flat)(event.reshape(-1)), compute_uv=False)
        return values[0] / values[-1]

    return jax.lax.map(one, x, batch_size=CHUNK)
