"""Many starts of an unmixing flow, trained side by side, of which the likeliest is kept."""

from collections.abc import Callable, Sequence
import functools
import time
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowzoo.flow import Flow
from flowzoo.ica.unmixing import Unmixing, contrast
from flowzoo.relative import relative_muon, to_perturbations
from flowzoo.training.state import Variables, merge, split
from flowzoo.transforms import with_modes
from flowzoo.transforms.linear.dense import dense_weights

CHUNK = 4096


class Stage(NamedTuple):
    """How long how many starts are trained, on batches of which size, and at which rates.

    Attributes:
      starts, steps, batch_size: their numbers; the batches are at most the rows of the data.
      rates: of relative Muon and of Adam, to which they rise and from which they fall.
    """

    starts: int
    steps: int
    batch_size: int
    rates: tuple[float, float]


def fit_starts(
    builds: Sequence[Callable[[nnx.Rngs], Flow]],
    x: np.ndarray,
    u: np.ndarray | None,
    *,
    stages: Sequence[Stage],
    momentum: float = 0.9,
    c_ima_weight: float = 0.0,
    seed: int = 0,
) -> Unmixing:
    """As `fit`, for any flows: of each start the one that its builder makes.

    Args:
      builds: each makes a flow from random numbers; the starts take them in turn. They differ in
        the values of parameters alone.
      x, u: as `check_data` returns them.
      stages: one after the other; their starts do not rise.
      momentum, c_ima_weight, seed: as for `fit`.
    """
    began = time.monotonic()
    key = jax.random.key(seed)
    count = stages[0].starts
    flow, recipe, params = _starts(builds, x, u, count, jax.random.fold_in(key, 0))
    graph, variables = split(flow)
    data = jnp.asarray(x), None if u is None else jnp.asarray(u)
    # A base that has to be trained must know what u tells before the transform moves far.
    trained_base = flow.context is not None and not getattr(flow.base, "profile", False)
    scores, fitted = np.zeros(count), None
    for number, stage in enumerate(stages):
        best = np.argsort(-scores)[: stage.starts]
        params = jax.tree.map(lambda a: a[best], params)  # noqa: B023
        params = _train(
            params,
            variables,
            *data,
            jax.random.fold_in(key, 1 + number),
            graph=graph,
            steps=stage.steps,
            rates=tuple(stage.rates),
            momentum=momentum,
            wait=trained_base and number == 0,
            batch_size=stage.batch_size,
            c_ima_weight=c_ima_weight,
        )
        new, after = _likelihoods(graph, variables, params, *data)
        new = np.where(np.isfinite(new), new, -np.inf)
        # Rates rise again in each stage, and may throw a start out of its optimum for good. With a
        # penalty the likelihood may well fall.
        undo = number > 0 and not c_ima_weight
        worse = new < scores[best] if undo else np.zeros(len(new), bool)
        if worse.any():
            before = jax.tree.map(lambda a: a[best], fitted)  # noqa: B023
            after = jax.tree.map(functools.partial(_choose, worse), before, after)
            params = after.params
        scores, fitted = np.where(worse, scores[best], new), after
    order = np.argsort(-scores)
    if not np.isfinite(scores[order[0]]):
        raise FloatingPointError(
            "The likelihood became non-finite in every start: a lower dense_learning_rate or "
            "learning_rate usually helps."
        )
    found = merge(graph, jax.tree.map(lambda a: a[order[0]], fitted))
    found.recipe = recipe
    return Unmixing(found, scores[order], time.monotonic() - began)


def _choose(chosen: np.ndarray, one: jax.Array, other: jax.Array) -> jax.Array:
    """Of two arrays `[S, …]` the rows of the first where `chosen: [S]`, else of the second."""
    return jnp.where(chosen.reshape(-1, *[1] * (one.ndim - 1)), one, other)


def _starts(builds, x, u, count: int, key: jax.Array) -> tuple[Flow, str | None, nnx.State]:
    """A flow that has seen the data, its recipe, and the parameters of many starts, stacked."""

    def build(i, rngs):
        flow = builds[i](rngs)
        recipe, flow.recipe = flow.recipe, None  # In which starting values count.
        return flow, recipe

    def shapes(params):
        return jax.tree.map(jnp.shape, params)

    flow, recipe = build(0, nnx.Rngs(0))
    graph, before = split(flow)
    before = jax.device_get(before)
    flow.initialize(x, u)
    same = jax.tree.map(np.array_equal, before.params, jax.device_get(split(flow)[1].params))
    if not all(jax.tree.leaves(same)):
        raise ValueError(
            "fit got maps that start from the data, where all starts would be the same: choose "
            "init='identity' for them."
        )

    def make(i, key):
        new_graph, variables = split(build(i, nnx.Rngs(key))[0])
        if new_graph != graph or shapes(variables.params) != shapes(before.params):
            raise ValueError(
                "fit got several records of maps that differ in more than their starting values: "
                "give one of them, or equal numbers of bins and bounds."
            )
        return variables.params

    groups, places = [], []
    for i in range(min(count, len(builds))):
        own = range(i, count, len(builds))
        keys = jax.random.split(jax.random.fold_in(key, i), len(own))
        groups.append(jax.jit(jax.vmap(functools.partial(make, i)))(keys))
        places += own
    back = np.argsort(places)
    return flow, recipe, jax.tree.map(lambda *arrays: jnp.concatenate(arrays)[back], *groups)


def _optimizer(flow: Flow, steps: int, rates: tuple[float, float], momentum: float, *, wait: bool):
    dense, other = (
        optax.warmup_cosine_decay_schedule(0.0, rate, max(1, steps // 10), steps + 1)
        for rate in rates
    )
    if wait:
        dense = optax.join_schedules([optax.constant_schedule(0.0), dense], [steps // 5])
    if not (weights := dense_weights(flow)):
        return optax.adam(other)
    return relative_muon(
        dense,
        weights,
        layout="out_in",
        momentum=momentum,
        gradients="multiplicative",
        adam_learning_rate=other,
    )


@functools.partial(
    jax.jit,
    static_argnames=("graph", "steps", "rates", "momentum", "wait", "batch_size", "c_ima_weight"),
)
def _train(
    params, variables, x, u, key, *, graph, steps, rates, momentum, wait, batch_size, c_ima_weight
):
    """Trains stacked parameters.

    All arrays are arguments, so that a process compiles one program for all data of a shape.
    """
    flow = merge(graph, variables)
    optimizer = _optimizer(flow, steps, rates, momentum, wait=wait)
    mode = dict(gradient_rule="multiplicative", batch_statistics=True)
    multiplicative, _ = split(with_modes(flow, **mode))
    if c_ima_weight:
        to_multiplicative = to_perturbations(dense_weights(flow), layout="out_in")

    def loss(params, x, u):
        return -merge(multiplicative, variables._replace(params=params)).log_prob(x, u).mean()

    def penalty(params, x):
        # Second derivatives, which only the ordinary rule has.
        flow = merge(graph, variables._replace(params=params))
        return c_ima_weight * contrast(flow.transform, x).mean()

    size = min(batch_size, len(x))

    def step(carry, i):
        params, state = carry
        rows = jax.random.randint(jax.random.fold_in(key, i), (size,), 0, len(x))
        batch = x[rows], None if u is None else u[rows]

        def one(params, state):
            gradients = jax.grad(loss)(params, *batch)
            if c_ima_weight:
                more = jax.grad(penalty)(params, batch[0])
                more, _ = to_multiplicative.update(more, to_multiplicative.init(params), params)
                gradients = jax.tree.map(jnp.add, gradients, more)
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        return jax.vmap(one)(params, state), None

    carry = params, jax.vmap(optimizer.init)(params)
    return jax.lax.scan(step, carry, jnp.arange(steps))[0][0]


@functools.partial(jax.jit, static_argnums=0)
def _likelihoods(graph, variables: Variables, params, x, u) -> tuple[jax.Array, Variables]:
    """The mean log-likelihood in nats of each of many stacked flows, and their variables."""

    def one(params):
        # A copy, because variables from outside of the loop may not be set in it.
        flow = nnx.clone(merge(graph, variables._replace(params=params)))
        flow.update_statistics(x, u)
        rows = jax.lax.map(lambda row: flow.log_prob(*row), (x, u), batch_size=CHUNK)
        return rows.mean(), split(flow)[1]

    return jax.lax.map(one, params)
