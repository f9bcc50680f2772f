"""Nonlinear ICA by maximum likelihood: many starts side by side, of which the likeliest is kept."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import time
from typing import Any
import warnings

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowzoo import zoo
from flowzoo.context import ContextSpec, Features, Labels
from flowzoo.data.dataset import check_finite
from flowzoo.flow import Flow
from flowzoo.numerics.separation import c_ima
from flowzoo.relative import relative_muon, to_perturbations
from flowzoo.training.state import Variables, merge, split
from flowzoo.transforms import with_modes
from flowzoo.transforms.linear.dense import dense_weights

# What the maps between the layers are like at the start; starts take them in turn.
SHAPES = tuple(
    {"name": "slope_spline", "start": start} for start in ("outward", "identity", "right", "inward")
)
# Starts, and the steps of each: after a stage those with the best likelihood go on to the next.
STAGES = ((32, 600), (8, 1000), (2, 3000))
CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Unmixing:
    """A flow whose latents are the sources, in some order and each in some scale and sign.

    Attributes:
      flow: `log p(x | u)`; its base is `p(s | u)`, its transform x → s.
      log_likelihoods: mean log-likelihoods in nats of the last stage's starts, the best first.
      seconds: that the fit took, compilation included.
    """

    flow: Flow
    log_likelihoods: np.ndarray
    seconds: float

    def sources(self, x: np.ndarray) -> np.ndarray:
        """`s: [N, D]` of `x: [N, D]`."""
        return np.asarray(_apply(self.flow.transform, jnp.asarray(x, jnp.float32), False))

    def mix(self, sources: np.ndarray) -> np.ndarray:
        """`x: [N, D]` of `s: [N, D]`."""
        return np.asarray(_apply(self.flow.transform, jnp.asarray(sources, jnp.float32), True))

    def c_ima(self, x: np.ndarray) -> float:
        """The mean contrast of independent mechanisms of the mixing, at points `x: [N, D]`."""
        return float(_contrast(self.flow.transform, jnp.asarray(x, jnp.float32)).mean())


@functools.partial(jax.jit, static_argnames="inverse")
def _apply(transform, x, inverse):
    return transform.inverse(x) if inverse else transform.forward(x)


@jax.jit
def _contrast(transform, x: jax.Array) -> jax.Array:
    """`c_ima` of the mixing at the sources of `x: [N, D]`, as a function of the unmixing alone."""
    unmixing = jax.vmap(jax.jacrev(transform.forward))(x)
    return c_ima(jnp.linalg.inv(unmixing))


def fit(
    x: np.ndarray,
    u: np.ndarray | None = None,
    *,
    num_layers: int = 3,
    between: Any = SHAPES,
    family: str = "normal",
    model: Mapping[str, Any] | None = None,
    stages: Sequence[tuple[int, int]] = STAGES,
    batch_size: int = 1000,
    dense_learning_rate: float = 0.05,
    learning_rate: float = 1e-2,
    momentum: float = 0.9,
    c_ima_weight: float = 0.0,
    seed: int = 0,
) -> Unmixing:
    """Finds sources that are independent given u, whatever invertible mixing made x of them.

    The flow is the recipe `unmixing` of the zoo, trained by relative Muon (Adam for everything that
    is not a dense layer) on batches drawn with replacement, its rates rising for a tenth of a stage
    and falling to zero along a cosine. Likelihoods of nonlinear mixings have many local optima:
    many starts are trained side by side in one program, and those with the best likelihood of all
    data go on. A stage that lowers the likelihood of a start is undone, unless there is a penalty.
    The true sources take no part in that.

    Args:
      x: `[N, D]`, mixtures.
      u: the observed variable: class labels `[N]`, integers from 0 without gaps, or real features
        `[N, C]`. None: a flow without one, which finds some independent sources and not the true
        ones.
      num_layers: dense layers, as many as the mixing is thought to have, or more: of mixtures of
        four layers, a flow of eight ends nearer to the sources than one of four.
      between: the maps between them, as for the recipe `unmixing`: one record, or several that
        differ in their starting values alone, which the starts take in turn.
      family: of the sources given u, see `flowzoo.bases.ConditionalFactorial`.
      model: other options of the recipe.
      stages: pairs of how many starts and how many steps, the starts falling.
      batch_size: rows of a step, at most N.
      dense_learning_rate: of relative Muon, the relative length of a step.
      learning_rate: of Adam.
      momentum: of relative Muon.
      c_ima_weight: λ ≥ 0: `λ C_IMA`, the mean contrast of independent mechanisms of the mixing, is
        added to the mean negative log-likelihood; costs D³ a row.
      seed: of starting values and batches.

    Returns:
      The flow of the best start, fitted.

    Warns:
      UserWarning: if u is constant or left out: the sources are then not identified.

    Raises:
      ValueError: if the arrays are not as above, there are fewer rows than sources, a class has no
        rows, or an option is unknown or out of its range.
      FloatingPointError: if the likelihood of no start is finite.

    Example:
      >>> from flowzoo import ica
      >>> data = ica.generators.segments(0, dim=2, num_segments=10, per_segment=100, layers=1)
      >>> found = ica.fit(data.x, data.u, num_layers=1, stages=((2, 400),))
      >>> bool(ica.mcc(data.sources, found.sources(data.x)) > 0.99)
      True
    """
    x, u, context = check_data("fit", x, u)
    stages = [(int(starts), int(steps)) for starts, steps in stages]
    counts = [starts for starts, _ in stages]
    if not stages or min(min(stage) for stage in stages) < 1 or counts != sorted(counts)[::-1]:
        raise ValueError(
            f"fit got stages {stages}, expected pairs of a number of starts, which does not rise, "
            "and a number of steps."
        )
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("c_ima_weight", c_ima_weight, 0),
        ("learning_rate", learning_rate, 0),
        ("dense_learning_rate", dense_learning_rate, 0),
    ):
        if not value >= least:
            raise ValueError(f"fit got {name} {value}, expected at least {least}.")
    if not 0 <= momentum < 1:
        raise ValueError(f"fit got momentum {momentum}, expected a number in [0, 1).")
    records = [between] if isinstance(between, str | Mapping) or callable(between) else between
    options = {"name": "unmixing", "num_layers": num_layers, "family": family, **(model or {})}

    def builder(record):
        return lambda rngs: zoo.build(
            options | {"between": record}, x.shape[1:], context=context, rngs=rngs
        )

    return fit_starts(
        [builder(record) for record in records],
        x,
        u,
        stages=stages,
        batch_size=batch_size,
        rates=(dense_learning_rate, learning_rate),
        momentum=momentum,
        c_ima_weight=c_ima_weight,
        seed=seed,
    )


def fit_starts(
    builds: Sequence[Callable[[nnx.Rngs], Flow]],
    x: np.ndarray,
    u: np.ndarray | None,
    *,
    stages: Sequence[tuple[int, int]],
    batch_size: int,
    rates: tuple[float, float],
    momentum: float = 0.9,
    c_ima_weight: float = 0.0,
    seed: int = 0,
) -> Unmixing:
    """As `fit`, for any flows: of each start the one that its builder makes.

    Args:
      builds: each makes a flow from random numbers; the starts take them in turn. They differ in
        the values of parameters alone.
      x, u: as `check_data` returns them.
      rates: of relative Muon and of Adam.
      stages, batch_size, momentum, c_ima_weight, seed: as for `fit`.
    """
    began = time.monotonic()
    counts = [starts for starts, _ in stages]
    key = jax.random.key(seed)
    flow, recipe, params = _starts(builds, x, u, counts[0], jax.random.fold_in(key, 0))
    graph, variables = split(flow)
    data = jnp.asarray(x), None if u is None else jnp.asarray(u)
    # A base that has to be trained must know what u tells before the transform moves far.
    trained_base = flow.context is not None and not getattr(flow.base, "profile", False)
    scores, fitted = np.zeros(counts[0]), None
    for stage, (starts, steps) in enumerate(stages):
        best = np.argsort(-scores)[:starts]
        params = jax.tree.map(lambda a: a[best], params)  # noqa: B023
        params = _train(
            params,
            variables,
            *data,
            jax.random.fold_in(key, 1 + stage),
            graph=graph,
            steps=steps,
            rates=tuple(rates),
            momentum=momentum,
            wait=trained_base and stage == 0,
            batch_size=batch_size,
            c_ima_weight=c_ima_weight,
        )
        new, after = _likelihoods(graph, variables, params, *data)
        new = np.where(np.isfinite(new), new, -np.inf)
        # Rates rise again in each stage, and may throw a start out of its optimum for good. With a
        # penalty the likelihood may well fall.
        undo = stage > 0 and not c_ima_weight
        worse = new < scores[best] if undo else np.zeros(starts, bool)
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


def check_mixtures(function: str, x: np.ndarray) -> np.ndarray:
    """Finite mixtures `[N, D]` of floating-point numbers, N ≥ max(2, D), or a ValueError."""
    x = np.asarray(x)
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.floating):
        raise ValueError(
            f"{function} got x of shape {x.shape} and dtype {x.dtype}, expected floating-point "
            "mixtures [N, D]."
        )
    check_finite(x, "x")
    rows, dim = x.shape
    if rows < max(2, dim):
        raise ValueError(
            f"{function} got {rows} rows of {dim} mixtures, expected at least as many rows as "
            "sources; is the array transposed?"
        )
    return x


def check_data(
    function: str, x: np.ndarray, u: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, ContextSpec | None]:
    """The arrays as float32 and int32 or float32, and what u is; see `fit` for what is refused."""
    x = check_mixtures(function, x)
    rows = len(x)
    x = x.astype(np.float32)
    if u is None:
        _warn("there is no u")
        return x, None, None
    u = np.asarray(u)
    if len(u) != rows if u.ndim else True:
        raise ValueError(
            f"{function} got {rows} rows of mixtures and u of shape {u.shape}, expected one u for "
            "each row: labels [N] or features [N, C]."
        )
    if np.all(u == u[:1]):
        _warn("u is the same in all rows")
    if u.ndim == 1 and np.issubdtype(u.dtype, np.integer):
        if u.min() < 0:
            raise ValueError(f"{function} got the label {u.min()} in u, expected labels from 0.")
        sizes = np.bincount(u)
        if np.any(sizes == 0):
            raise ValueError(
                f"{function} got u in which class {int(np.argmin(sizes))} of {len(sizes)} has no "
                "rows: number the classes 0 … K − 1 without gaps, e.g. by "
                "np.unique(u, return_inverse=True)[1]."
            )
        return x, u.astype(np.int32), Labels(len(sizes))
    if u.ndim == 2 and np.issubdtype(u.dtype, np.floating):
        check_finite(u, "u")
        return x, u.astype(np.float32), Features(u.shape[1])
    raise ValueError(
        f"{function} got u of shape {u.shape} and dtype {u.dtype}, expected integer class labels "
        f"[{rows}] or floating-point features [{rows}, C]."
    )


def _warn(why: str) -> None:
    warnings.warn(
        f"Nothing identifies the sources of a nonlinear mixing, because {why}: as many other "
        "independent sources have the same likelihood, and which of them is found is chance.",
        stacklevel=4,
    )


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

    def contrast(params, x):
        # Second derivatives, which only the ordinary rule has.
        flow = merge(graph, variables._replace(params=params))
        return c_ima_weight * _contrast(flow.transform, x).mean()

    size = min(batch_size, len(x))

    def step(carry, i):
        params, state = carry
        rows = jax.random.randint(jax.random.fold_in(key, i), (size,), 0, len(x))
        batch = x[rows], None if u is None else u[rows]

        def one(params, state):
            gradients = jax.grad(loss)(params, *batch)
            if c_ima_weight:
                more = jax.grad(contrast)(params, batch[0])
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
