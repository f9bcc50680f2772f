"""The training step, many of which run in one dispatch."""

from collections.abc import Callable
import functools
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import optax

from flowzoo.bases.factorial import StandardNormal
from flowzoo.data.dataset import Dataset, dequantize
from flowzoo.flow import Flow
from flowzoo.training.devices import DATA, MODEL, shardings
from flowzoo.training.state import TrainState, Variables, merge, split
from flowzoo.transforms import (
    BatchNorm,
    Chain,
    ContinuousFlow,
    Dense,
    with_log_det_estimates,
    with_modes,
)
from flowzoo.transforms.estimates import can_estimate

SHUFFLE, NOISE, SYMMETRY, OBJECTIVE, GAUSSIAN, DROPOUT = range(6)

# `config.objective`: the likelihood, that with the log-determinants that `with_log_det_estimates`
# estimates, and the regression of a vector field on straight lines from data to latents.
OBJECTIVES = ("likelihood", "estimate", "flow_matching")

# `config.matmul_precision` as JAX names it. Its own "bfloat16" is TF32 on GPUs.
PRECISIONS = {
    "float32": "float32",
    "tensorfloat32": "tensorfloat32",
    "bfloat16": "BF16_BF16_F32",
}


class Report(NamedTuple):
    """What a dispatch tells the host.

    Attributes:
      failed_step: the first step whose likelihood was not finite, −1 if there was none.
      gradient_norm: of the last step, over all parameters.
      parameter_norm: after the last step; not finite if some parameter is not.
    """

    failed_step: jax.Array
    gradient_norm: jax.Array
    parameter_norm: jax.Array


class Batch(NamedTuple):
    """Events in model space and what belongs to them.

    Attributes:
      x: `[B, *event_shape]`.
      labels: `[B]`, None if unconditional.
      keys: `[B]`, random keys of this epoch for an objective that draws, None for others.
    """

    x: jax.Array
    labels: jax.Array | None
    keys: jax.Array | None = None


def stream(key: jax.Array, purpose: int, epoch: jax.Array) -> jax.Array:
    """The random key for one purpose in one epoch."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(key), purpose), epoch)


def make_loss(
    flow: Flow,
    rule: str,
    axis: str | None = None,
    objective: str = "likelihood",
    activations: str = "kept",
) -> Callable:
    """Builds `loss(params, other variables, batch) -> (nats, base term)`: the mean negative
    log-likelihood, its gradient in the dense layers following `rule`.

    `objective` is one of `OBJECTIVES`; of `flow_matching`, both values are its loss. `axis` is the
    mapped axis that a batch is spread over, None if the loss sees whole batches. `activations` is
    one of `flowzoo.transforms.activations.ACTIVATIONS`. The second value is the mean log-density
    of the latents. It costs nothing and, unlike the loss, can be asked for without a factorisation
    of any W; it is not finite if some latent is not.

    Raises:
      ValueError: if the flow does not fit the objective, or what becomes of activations.
    """
    if objective == "flow_matching":
        return make_matching_loss(flow)
    if objective == "estimate" and not can_estimate(flow):
        raise ValueError(
            "config.objective is 'estimate', but the model has no log-determinant that can be "
            "estimated, expected a continuous or a residual flow; choose 'likelihood'."
        )
    if activations == "inverted" and _normalises_by_batches(flow):
        raise ValueError(
            "config.activations is 'inverted', but the model has BatchNorm, whose inverse does not "
            "know the batch that it was normalised by; choose 'recomputed'."
        )
    copy = with_modes(
        flow,
        activations=activations,
        gradient_rule=rule,
        batch_statistics=True,
        axis_name=axis,
        canonical_gradients=jax.default_backend() == "cpu",
    )
    if rule == "relative" and (last := _behind_which_lengths_count(copy)) is not None:
        last.gradient_rule = "relative_radial"
    graph, _ = split(copy)

    def loss(params, variables: Variables, batch: Batch):
        flow = merge(graph, variables._replace(params=params))
        if objective == "estimate":
            flow = with_log_det_estimates(flow, batch.keys[0])
        context = flow.encode_context(batch.labels)
        z, log_det = flow.transform.forward_and_log_det(batch.x, context)
        base = flow.base.log_prob(z, context)
        return -(base + log_det).mean(), base.mean()

    return loss


def make_matching_loss(flow: Flow) -> Callable:
    """As `make_loss`: the mean of `ContinuousFlow.matching_loss`, nothing being solved.

    Raises:
      ValueError: unless the flow ends in a `ContinuousFlow`, which holds all that is trained.
    """
    layers = list(flow.transform.transforms) if isinstance(flow.transform, Chain) else []
    before, last = (layers[:-1], layers[-1]) if layers else ([], flow.transform)
    trained = jax.tree.leaves(nnx.state((flow.base, *before), nnx.Param))
    if not isinstance(last, ContinuousFlow) or trained:
        raise ValueError(
            "config.objective is 'flow_matching', which trains the vector field of a flow that "
            "ends in a ContinuousFlow and has nothing else to train, such as the model "
            "continuous_flow; expected that, or another objective."
        )
    graph, _ = split(flow)

    def loss(params, variables: Variables, batch: Batch):
        flow = merge(graph, variables._replace(params=params))
        context, x = flow.encode_context(batch.labels), batch.x
        chained = isinstance(flow.transform, Chain)
        *before, last = list(flow.transform.transforms) if chained else [flow.transform]
        for layer in before:
            x = layer.forward(x, context)

        def draw(key, context):
            of_latent, of_time = jax.random.split(key)
            z = flow.base.sample(of_latent, (), context)
            return z, jax.random.uniform(of_time, (), x.dtype)

        z, t = jax.vmap(draw)(batch.keys, context)
        value = last.matching_loss(x, z, t, context).mean()
        return value, value

    return loss


def _normalises_by_batches(flow: Flow) -> bool:
    return any(isinstance(module, BatchNorm) for _, module in nnx.iter_modules(flow.transform))


def _behind_which_lengths_count(flow: Flow) -> Dense | None:
    """The flow's last layer, if it is dense and the loss sees of its outputs only their length.

    That saves a product. It is so under a standard normal, and under no other base.
    """
    transform = flow.transform
    last = transform.transforms[-1] if isinstance(transform, Chain) else transform
    return last if type(last) is Dense and type(flow.base) is StandardNormal else None


def train_step(
    loss: Callable,
    optimizer: optax.GradientTransformation,
    average_decay: float,
    axis: str | None,
    state: TrainState,
    batch: Batch,
) -> tuple[TrainState, jax.Array, nnx.State]:
    """One step on this device's part of a batch; gradients are averaged over the axis, if any.

    Returns:
      The new state, the mean log-density of the latents, and the gradients.
    """
    params = state.variables.params
    gradients, base = jax.grad(loss, has_aux=True)(params, state.variables, batch)
    if axis is not None:  # XLA keeps a mean over one device, which costs a copy of all gradients.
        gradients, base = jax.lax.pmean((gradients, base), axis)
    updates, opt_state = optimizer.update(gradients, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    average = state.average
    if average is not None:
        # A plain average at first, so that the starting point is soon forgotten.
        decay = jnp.minimum(average_decay, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(params, average, 1 - decay)
    state = state._replace(
        step=state.step + 1,
        variables=state.variables._replace(params=params),
        opt_state=opt_state,
        average=average,
    )
    return state, base, gradients


def make_batch(
    dataset: Dataset,
    x: jax.Array,
    labels: jax.Array | None,
    rows: jax.Array,
    key,
    epoch,
    objective: str = "likelihood",
    noise_std: float = 0.0,
    label_dropout: float = 0.0,
) -> Batch:
    """Takes rows of the training data into model space, with this epoch's noise and symmetries.

    There, `noise_std` times a standard normal is added. A share `label_dropout` of the labels
    becomes −1, which `Labels` encodes as zeros: no label.

    The random numbers of a row depend on the epoch and the row alone, hence neither on the order
    nor on the number of devices.
    """

    def per_row(purpose: int) -> jax.Array:
        return jax.vmap(jax.random.fold_in, (None, 0))(stream(key, purpose, epoch), rows)

    batch = x[rows]
    if dataset.dequantize:
        batch = dequantize(batch, stream(key, NOISE, epoch), rows)
    if (group := dataset.symmetries) is not None:
        which = jax.vmap(lambda k: jax.random.randint(k, (), 0, len(group)))(per_row(SYMMETRY))
        batch = group.apply(batch, which)
    batch = dataset.preprocessing.forward(batch)
    if noise_std:
        noise = jax.vmap(lambda k: jax.random.normal(k, batch.shape[1:], batch.dtype))
        batch = batch + noise_std * noise(per_row(GAUSSIAN))
    labels = None if labels is None else labels[rows]
    if labels is not None and label_dropout:
        dropped = jax.vmap(lambda k: jax.random.bernoulli(k, label_dropout))(per_row(DROPOUT))
        labels = jnp.where(dropped, -1, labels)
    return Batch(batch, labels, None if objective == "likelihood" else per_row(OBJECTIVE))


def make_shuffle(num_train: int, batch_size: int, mesh: Mesh) -> Callable:
    """Builds `shuffle(key, epoch) -> order: [steps per epoch, batch_size]`, rows of an epoch."""
    steps = num_train // batch_size

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
    def shuffle(key: jax.Array, epoch: jax.Array) -> jax.Array:
        order = jax.random.permutation(stream(key, SHUFFLE, epoch), num_train)
        return order[: steps * batch_size].reshape(steps, batch_size)

    return shuffle


def make_run_steps(
    flow: Flow,
    rule: str,
    optimizer: optax.GradientTransformation,
    dataset: Dataset,
    average_decay: float,
    mesh: Mesh,
    matmul_precision: str = "float32",
    objective: str = "likelihood",
    noise_std: float = 0.0,
    label_dropout: float = 0.0,
    activations: str = "kept",
) -> Callable:
    """Builds `run_steps(state, x, labels, order, stop) -> (state, report)`.

    It takes steps until the state's step is `stop`, or one fails, within one epoch whose rows are
    `order: [steps per epoch, batch_size]`. `x` and `labels` are the whole training split. The
    number of steps is not part of the compiled program. The state that goes in is donated.
    """
    split = mesh.shape[MODEL] > 1
    axis = DATA if mesh.size > 1 and not split else None
    loss = make_loss(flow, rule, axis, objective, activations)
    step = functools.partial(train_step, loss, optimizer, average_decay, axis)

    def local(rows):
        if axis is None:
            return jax.lax.with_sharding_constraint(rows, NamedSharding(mesh, PartitionSpec(DATA)))
        size = len(rows) // mesh.size
        return jax.lax.dynamic_slice_in_dim(rows, jax.lax.axis_index(axis) * size, size)

    def in_place(state: TrainState) -> TrainState:
        if not split:
            return state
        return jax.lax.with_sharding_constraint(state, shardings(state, mesh))

    def run(state: TrainState, x, labels, order, stop):
        steps_per_epoch = len(order)

        def unfinished(carry):
            state, report = carry
            return (state.step < stop) & (report.failed_step < 0)

        def advance(carry):
            state, report = carry
            now = state.step
            epoch, position = now // steps_per_epoch, now % steps_per_epoch
            rows = local(order[position])
            batch = make_batch(
                dataset, x, labels, rows, state.key, epoch, objective, noise_std, label_dropout
            )
            with jax.default_matmul_precision(PRECISIONS[matmul_precision]):
                state, base, gradients = step(state, batch)
            state = in_place(state)
            # Of the gradients alone: norms of updates or parameters in here would keep those in
            # memory beside the gradients, in every step.
            gradient_norm = jax.lax.cond(
                state.step == stop, _norm, lambda _: jnp.float32(0), gradients
            )
            failed_step = jnp.where(jnp.isfinite(base), report.failed_step, now)
            return state, Report(failed_step, gradient_norm, report.parameter_norm)

        report = Report(jnp.int32(-1), jnp.float32(0), jnp.float32(0))
        state, report = jax.lax.while_loop(unfinished, advance, (state, report))
        state = in_place(state)
        return state, report._replace(parameter_norm=_norm(state.variables.params))

    if axis is not None:
        everywhere = PartitionSpec()
        run = jax.shard_map(
            run, mesh=mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False
        )
    return jax.jit(run, donate_argnums=0)


def _norm(tree) -> jax.Array:
    return optax.global_norm(tree).astype(jnp.float32)


@jax.jit
def update_norm(before: nnx.State, after: nnx.State) -> jax.Array:
    """Norm of the difference of two sets of parameters."""
    return _norm(jax.tree.map(jnp.subtract, after, before))
