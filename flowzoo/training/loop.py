"""One run, from a config to a workdir."""

from collections.abc import Callable
import contextlib
import dataclasses
import signal
import sys
import time
from typing import NamedTuple

from etils import epath
from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import config_dict
import numpy as np

from flowzoo.context import Labels
from flowzoo.data import load_dataset
from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.training import devices, signals
from flowzoo.training import workdir as workdirs
from flowzoo.training.checkpoints import Checkpoints
from flowzoo.training.config import changed, check_batch
from flowzoo.training.evaluation import evaluation_key, make_log_probs
from flowzoo.training.log_det_counts import log_det_counts
from flowzoo.training.metrics import MetricsWriter, Progress, Record
from flowzoo.training.optimizer import gradient_rule, make_optimizer
from flowzoo.training.start import as_started, from_run
from flowzoo.training.state import Best, TrainState, Variables, initial_state, merge, split
from flowzoo.training.step import make_run_steps, make_shuffle, update_norm
from flowzoo.transforms.linear.dense import check_invertible, dense_weights
from flowzoo.transforms.transform import mark_fitted
from flowzoo.zoo import build
from flowzoo.zoo.parameters import match_parameters

SECONDS_PER_DISPATCH = 1.0


class NonFinite(FloatingPointError):
    """The likelihood or a parameter became NaN or infinite."""


def load_data(config: config_dict.ConfigDict) -> Dataset:
    """The config's dataset, with its augmentation, cut to `config.dataset.limit` rows a split.

    Raises:
      ValueError: if the augmentation does not fit the data.
    """
    dataset = load_dataset(config.dataset.name, data_dir=config.dataset.data_dir or None)
    if config.dataset.augmentation != "default":
        dataset = dataclasses.replace(dataset, augmentation=config.dataset.augmentation)
    limit = config.dataset.limit
    return dataset.first(limit) if limit else dataset


def resolved(config: config_dict.ConfigDict, dataset: Dataset) -> config_dict.ConfigDict:
    """The config with everything decided: `model.hidden_sizes` in the place of `num_parameters`.

    Raises:
      ValueError: if the model has no hidden sizes.
    """
    if not config.num_parameters:
        return config
    model = config.model.to_dict()
    context = context_of(config, dataset)
    model = match_parameters(model, dataset.event_shape, config.num_parameters, context=context)
    return changed(config, model=model, num_parameters=0)


def context_of(config: config_dict.ConfigDict, dataset: Dataset) -> Labels | None:
    """What the config's model is conditioned on.

    Raises:
      ValueError: if `config.conditional` is set and the data have no labels, or labels are to be
        left out that the model does not get.
    """
    if not config.conditional:
        if config.label_dropout:
            raise ValueError(
                f"config.label_dropout is {config.label_dropout} and config.conditional is not "
                "set, expected a model that gets labels: set it, or leave the dropout at 0."
            )
        return None
    if dataset.num_classes is None:
        raise ValueError(f"config.conditional is set, but {dataset.name} has no labels.")
    return Labels(dataset.num_classes)


def build_flow(config: config_dict.ConfigDict, dataset: Dataset) -> Flow:
    """The config's model for a dataset, at its starting values that do not depend on data.

    Raises:
      ValueError: if the model cannot be built, or `config.conditional` is set and the data have no
        labels.
    """
    rngs = nnx.Rngs(jax.random.key(config.seed))
    context = context_of(config, dataset)
    return build(config.model.to_dict(), dataset.event_shape, context=context, rngs=rngs)


class Run:
    """A run of one config on one dataset: its compiled functions and its data on the devices.

    Args:
      config: see `flowzoo.training.config.default_config`.
      dataset: what to train on.
      mesh: the devices to use, all of them by default.
      flow: what to train in place of the config's model.

    Raises:
      ValueError: if the config does not fit the dataset or the devices.
    """

    def __init__(
        self,
        config: config_dict.ConfigDict,
        dataset: Dataset,
        mesh: Mesh | None = None,
        flow: Flow | None = None,
    ):
        self.config = config = resolved(config, dataset)
        self.dataset = dataset
        self.mesh = mesh or devices.make_mesh(**config.mesh, batch_size=config.batch_size)
        check_batch(config, len(dataset.train), self.mesh.shape[devices.DATA])
        # On the host, so that no device ever holds a flow that is split over many.
        self.flow = jax.device_get(build_flow(config, dataset) if flow is None else flow)
        mark_fitted(self.flow)  # By `start` or by the run whose checkpoint is restored.
        self.graph, self.variables = split(self.flow)
        self.steps_per_epoch = len(dataset.train) // config.batch_size
        self.num_steps = self.steps_per_epoch * config.num_epochs

        rule = gradient_rule(config)
        self.optimizer = make_optimizer(
            config.optimizer,
            self.num_steps,
            dense_weights(self.flow),
            rule=rule,
            log_det_counts=log_det_counts(self.flow) if rule == "data_terms" else None,
        )
        self.run_steps = make_run_steps(
            self.flow,
            rule,
            self.optimizer,
            dataset,
            config.parameter_average,
            self.mesh,
            config.matmul_precision,
            config.objective,
            config.noise_std,
            config.label_dropout,
            config.activations,
        )
        self.shuffle = make_shuffle(len(dataset.train), config.batch_size, self.mesh)
        self.log_probs = make_log_probs(self.mesh)

        labelled = config.conditional
        self.x = devices.replicate(dataset.train.x, self.mesh)
        self.labels = devices.replicate(dataset.train.labels, self.mesh) if labelled else None
        self.seen = self.evaluation_data("train", rows=len(dataset.validation))
        self.unseen = self.evaluation_data("validation")
        self.whole = None
        if jax.tree.leaves(self.variables.statistics):
            self.whole = self.evaluation_data("train")
            self.update_statistics = jax.jit(self._update_statistics)

    def evaluation_data(self, name: str, rows: int | None = None):
        """A split in model space on the devices, and its labels if the flow is conditional."""
        x = self.dataset.model_space(name, evaluation_key(name))[:rows]
        labels = self.dataset.split(name).labels[:rows] if self.config.conditional else None
        return devices.replicate((np.asarray(x), labels), self.mesh)

    def _update_statistics(self, variables: Variables, x, labels) -> nnx.State:
        flow = merge(self.graph, variables)
        flow.update_statistics(x, labels)
        return split(flow)[1].statistics

    def start(self, flow: Flow | None = None) -> TrainState:
        """The state before the first step.

        Args:
          flow: whose parameters to start from, None for those of the run `config.start_from`, if
            that is set.

        Raises:
          FileNotFoundError: if `config.start_from` is not the workdir of a run.
          ValueError: if some W is singular, or the flow to start from is another model.
        """
        given, flow = flow, self.flow
        if given is not None:
            flow = as_started(given, self.graph, self.variables)
        elif self.config.start_from:
            flow = from_run(self.config.start_from, self.graph, self.variables)
        elif flow.starts_from_data:
            x, labels = self.dataset.seen_in_training(evaluation_key("train"))
            labels = labels if self.config.conditional else None
            flow = jax.tree.map(jnp.asarray, flow)
            flow.initialize(x, labels)
        check_invertible(flow)
        return self.place(flow)

    def place(self, flow: Flow) -> TrainState:
        """A flow's variables as the state before the first step, on the devices."""
        average = self.config.parameter_average > 0
        key = jax.random.key(self.config.seed)
        variables = devices.distribute(split(flow)[1], self.mesh)
        state = initial_state(variables, self.optimizer, key, parameter_average=average)
        return devices.distribute(state, self.mesh)

    def compile_steps(self, state: TrainState) -> float:
        """Compiles `run_steps` for states like this one; returns the seconds that it took."""
        began = time.monotonic()
        order = jax.eval_shape(self.shuffle, state.key, 0)
        arguments = state, self.x, self.labels, order, np.int32(0)
        self.run_steps = self.run_steps.lower(*arguments).compile()
        return time.monotonic() - began

    def evaluate(self, state: TrainState) -> tuple[TrainState, Record]:
        """Validates the state; if it is the best so far, it is remembered as that.

        Raises:
          NonFinite: if the validation likelihood is not finite.
        """
        variables = state.variables
        if state.average is not None:
            variables = variables._replace(params=state.average)
        if self.whole is not None:
            variables = variables._replace(
                statistics=self.update_statistics(variables, *self.whole)
            )
        flow = merge(self.graph, variables)
        train = float(self.log_probs(flow, *self.seen).mean())
        validation = float(self.log_probs(flow, *self.unseen).mean())
        epoch = int(state.step) // self.steps_per_epoch
        if not np.isfinite(validation):
            raise NonFinite(f"the validation likelihood is {validation} after epoch {epoch}")
        state = state._replace(variables=state.variables._replace(statistics=variables.statistics))
        if validation > float(state.best.nats):
            value, when = devices.replicate((np.float32(validation), np.int32(epoch)), self.mesh)
            # A copy: the training state is donated to the next step, the best one lives on in it.
            best = jax.tree.map(jnp.copy, (variables.params, variables.statistics))
            state = state._replace(best=Best(*best, value, when))
        return state, {
            "step": int(state.step),
            "epoch": epoch,
            "train_nats": train,
            "validation_nats": validation,
            "best_validation_nats": float(state.best.nats),
        }

    def best_flow(self, state: TrainState) -> Flow:
        """The flow with the best validation likelihood so far, on the host."""
        best = self.variables._replace(
            params=state.best.params,
            statistics=state.best.statistics,
            constants=state.variables.constants,
        )
        return merge(self.graph, devices.to_host(best))


class Spent(NamedTuple):
    """Seconds on the wall, and of all processors of the main process together."""

    seconds: float
    processor_seconds: float


class Trained(NamedTuple):
    """What a run ends with: the flow with the best validation likelihood, and how it got there."""

    flow: Flow
    epochs: int
    best_epoch: int
    spent: Spent


def train(
    config: config_dict.ConfigDict,
    dataset: Dataset,
    workdir: epath.PathLike,
    *,
    start: Flow | None = None,
) -> Trained:
    """As `train_and_evaluate`, on any dataset, without the test at the end."""
    workdir = epath.Path(workdir)
    run = Run(config, dataset)
    main = devices.is_main_process()
    with workdirs.owned(workdir, run.config) if main else contextlib.nullcontext():
        checkpoints = Checkpoints(workdir)
        try:
            if checkpoints.latest_step() is None:
                state = run.start(start)
            else:
                state = checkpoints.restore(run.place(run.flow))
            with signals.caught() as signal_number:
                state, spent = _train(run, state, checkpoints, workdir, signal_number)
        finally:
            checkpoints.close()
    return Trained(
        flow=run.best_flow(state),
        epochs=int(state.step) // run.steps_per_epoch,
        best_epoch=int(state.best.epoch),
        spent=spent,
    )


def _train(
    run: Run,
    state: TrainState,
    checkpoints: Checkpoints,
    workdir: epath.Path,
    signal_number: Callable[[], int],
) -> tuple[TrainState, Spent]:
    config, first_step = run.config, int(state.step)
    main = devices.is_main_process()
    writer = MetricsWriter(workdir, first_step) if main else None
    if main and run.mesh.size < jax.device_count():
        print(
            f"{run.mesh.size} of {jax.device_count()} devices train: as many as config.mesh asks "
            f"for and divide the batch of {config.batch_size}.",
            file=sys.stderr,
        )
    progress = Progress(run.num_steps, config.num_epochs, first_step, main)
    clock = _Clock(writer.seconds, writer.processor_seconds) if main else _Clock(0.0, 0.0)
    compile_seconds = run.compile_steps(state) if run.num_steps else 0.0
    order, order_epoch = None, -1
    step, steps_per_second, last_save = first_step, 0.0, time.monotonic()

    def diverged(step: int, what: str) -> FloatingPointError:
        checkpoints.wait()
        kept = workdirs.last_checkpoint(workdir)
        return FloatingPointError(
            f"Training stopped: {what} became non-finite at step {step} "
            f"(epoch {step // run.steps_per_epoch + 1}). "
            + (f"The checkpoint of step {kept} is kept. " if kept is not None else "")
            + "A lower config.optimizer.learning_rate or a config.optimizer.clip_norm usually "
            "helps."
        )

    def evaluated(state: TrainState, norms: dict[str, float]) -> TrainState:
        try:
            state, record = run.evaluate(state)
        except NonFinite as error:
            raise diverged(int(state.step) - 1, str(error)) from None
        if main:
            spent = clock.spent()._asdict() | {"compile_seconds": compile_seconds}
            writer.write(record | norms | spent)
            progress.report(record)
        return state

    try:
        if run.num_steps == 0 and not np.isfinite(state.best.nats):
            # What was fitted to the data before the first step is all there is.
            state = evaluated(state, {})
        while step < run.num_steps and not _out_of_patience(run, state):
            epoch = step // run.steps_per_epoch
            if epoch != order_epoch:
                order, order_epoch = run.shuffle(state.key, epoch), epoch
            end = (epoch + 1) * run.steps_per_epoch
            evaluate = (epoch + 1) % config.eval_every_epochs == 0 or end == run.num_steps
            # The last step before an evaluation goes alone, so that its update can be seen.
            last = evaluate and step == end - 1
            count = max(1, int(devices.agree(steps_per_second * SECONDS_PER_DISPATCH)))
            stop = min(end - (evaluate and not last), step + count)
            before = jax.tree.map(jnp.copy, state.variables.params) if last else None

            began = time.monotonic()
            state, report = run.run_steps(state, run.x, run.labels, order, np.int32(stop))
            if (failed := int(report.failed_step)) >= 0:
                raise diverged(failed, "the likelihood")
            if not last:
                steps_per_second = (stop - step) / (time.monotonic() - began)
            step = stop
            if not np.isfinite(report.parameter_norm):
                raise diverged(step - 1, "a parameter")
            progress.advance(step, epoch)

            if last:
                norms = {
                    "gradient_norm": float(report.gradient_norm),
                    "parameter_norm": float(report.parameter_norm),
                    "update_norm": float(update_norm(before, state.variables.params)),
                }
                del before
                state = evaluated(state, norms)
            due = time.monotonic() - last_save >= config.checkpoint_seconds
            if devices.agree(due):
                checkpoints.save(state)
                last_save = time.monotonic()
            if number := devices.largest(signal_number()):
                checkpoints.save(state)
                checkpoints.wait()
                raise signals.Stopped(
                    f"Stopped by {signal.Signals(number).name} at step {step} (epoch {epoch + 1}); "
                    "the checkpoint is saved, and the same command goes on from there.",
                    number,
                )
        checkpoints.save(state)
    finally:
        progress.close()
        if main:
            writer.close()
    return state, clock.spent()


class _Clock:
    """What the run has taken, what it took before an interruption included."""

    def __init__(self, seconds: float, processor_seconds: float):
        self.began = time.monotonic() - seconds
        self.processor_began = time.process_time() - processor_seconds

    def spent(self) -> Spent:
        return Spent(time.monotonic() - self.began, time.process_time() - self.processor_began)


def _out_of_patience(run: Run, state: TrainState) -> bool:
    epoch = int(state.step) // run.steps_per_epoch
    return epoch - int(state.best.epoch) >= run.config.patience
