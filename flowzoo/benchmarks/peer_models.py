"""Flows of several libraries behind one face, to be timed against each other.

Every model is trained by Adam with a rate of 1e-4, in float32. A training step is one call on a
batch that the caller holds. An epoch goes once through a data set in random order, in batches, by
the library's own training loop; for PyTorch, by slices of a permutation.
"""

from collections.abc import Callable, Mapping
import functools
import os

from absl import logging
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowzoo.benchmarks.timing import interleaved, quartiles
from flowzoo.data.dataset import Dataset, Split
from flowzoo.flow import Flow
from flowzoo.training.devices import make_mesh, usable_cores
from flowzoo.training.state import initial_state, split
from flowzoo.training.step import make_run_steps, make_shuffle
from flowzoo.transforms import Affine, with_modes

LEARNING_RATE = 1e-4


class TorchModel:
    """A PyTorch flow.

    Args:
      module: holds the parameters.
      log_prob: `[B, D] -> [B]`.
      sample: `n -> [n, D]`.

    Attributes:
      random: whether densities are estimates, that differ from call to call.
    """

    random = False

    def __init__(self, module, log_prob: Callable, sample: Callable):
        import torch

        self._torch = torch
        self._log_prob, self._sample = log_prob, sample
        self._optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)

    def sample(self, n: int):
        with self._torch.no_grad():
            return self._sample(n).numpy()

    def log_prob(self, x: np.ndarray):
        with self._torch.no_grad():
            return self._log_prob(self._torch.from_numpy(x)).numpy()

    def train_step(self, x: np.ndarray) -> None:
        self._step(self._torch.from_numpy(x))

    def _step(self, x) -> None:
        self._optimizer.zero_grad()
        (-self._log_prob(x).mean()).backward()
        self._optimizer.step()

    def epoch(self, x: np.ndarray, batch_size: int) -> None:
        x = self._torch.from_numpy(x)
        for rows in self._torch.randperm(len(x)).split(batch_size):
            self._step(x[rows])


class JaxModel:
    """A JAX flow; each call is one compiled program.

    Args:
      parameters: a pytree of arrays.
      merge: makes a flow of parameters.
      log_prob: `(flow, [B, D]) -> [B]`.
      sample: `(flow, key, n) -> [n, D]`.
      fit: `([N, D], B, optimizer) -> a program for one epoch` in the library's own loop; None if
        it has none and epochs are not asked for.
    """

    random = False

    def __init__(
        self,
        parameters,
        merge: Callable,
        log_prob: Callable,
        sample: Callable,
        fit: Callable | None = None,
    ):
        self._optimizer = optimizer = optax.adam(LEARNING_RATE)
        # A copy, because the training step gives its arguments' memory away.
        self._parameters = jax.tree.map(lambda a: a.copy(), parameters)
        self._state = optimizer.init(parameters)
        self._key = jax.random.key(0)
        self._fit, self._epoch = fit, None

        def loss(parameters, x):
            return -log_prob(merge(parameters), x).mean()

        def train_step(parameters, state, x):
            gradients = jax.grad(loss)(parameters, x)
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(parameters, updates), state

        self._train_step = jax.jit(train_step, donate_argnums=(0, 1))
        self._log_prob = jax.jit(lambda parameters, x: log_prob(merge(parameters), x))
        self._sample = jax.jit(
            lambda parameters, key, n: sample(merge(parameters), key, n), static_argnums=2
        )

    def sample(self, n: int):
        return self._sample(self._parameters, self._key, n).block_until_ready()

    def log_prob(self, x: np.ndarray):
        return self._log_prob(self._parameters, x).block_until_ready()

    def train_step(self, x: np.ndarray) -> None:
        self._parameters, self._state = self._train_step(self._parameters, self._state, x)
        jax.block_until_ready(self._parameters)

    def epoch(self, x: np.ndarray, batch_size: int) -> None:
        if self._epoch is None:
            self._epoch = self._fit(x, batch_size, self._optimizer)
        self._epoch()


Model = JaxModel | TorchModel


def from_flow(flow: Flow, activations: str = "kept") -> JaxModel:
    """A flow of this library; its epochs are those of `flowzoo.training`.

    The activations that a training step would keep are hundreds of times as large as a network's
    input here. A step that asks for more than 32 MB gets them from the system in each call anew,
    page by page, which takes as long as the step itself, where glibc allocates; to compute them
    again takes a tenth.
    """
    flow = with_modes(flow, activations=activations)
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)
    return JaxModel(
        parameters,
        lambda parameters: nnx.merge(graph, parameters, rest),
        lambda flow, x: flow.log_prob(x),
        lambda flow, key, n: flow.sample(key, (n,)),
        functools.partial(_fit, flow),
    )


def _fit(flow: Flow, x: np.ndarray, batch_size: int, optimizer) -> Callable[[], None]:
    rows, mesh = Split(x), make_mesh(1)
    dataset = Dataset(
        name="peers", train=rows, validation=rows, test=rows, preprocessing=Affine(x.shape[1:])
    )
    run_steps = make_run_steps(flow, "relative", optimizer, dataset, 0.0, mesh)
    shuffle = make_shuffle(len(x), batch_size, mesh)
    variables = jax.tree.map(jnp.copy, split(flow)[1])
    state = initial_state(variables, optimizer, jax.random.key(0), parameter_average=False)
    x = jnp.asarray(x)

    def epoch():
        nonlocal state
        done = int(state.step) * batch_size // len(x)
        order = shuffle(state.key, done)
        state, _ = run_steps(state, x, None, order, np.int32((done + 1) * len(order)))
        jax.block_until_ready(state)

    return epoch


def build_models(builders: Mapping[str, Callable[..., Model]], *args) -> dict[str, Model]:
    """name -> model, of the libraries that can be imported and are not visibly wrong.

    The log names the others.
    """
    models = {}
    for name, builder in builders.items():
        try:
            models[name] = builder(*args)
        except ImportError as error:
            logging.warning("%s is left out, it cannot be imported: %s", name, error)
    for name, model in list(models.items()):
        try:
            check_density(model, args[0])
        except ArithmeticError as error:
            logging.warning("%s is left out: %s", name, error)
            del models[name]
    return models


def check_density(model: Model, dim: int) -> None:
    """Raises ArithmeticError unless log-densities are finite and the same alone and among others,
    which estimates need not be.

    Some PyTorch builds give silently wrong batched results on some processors, and a wrong program
    is not worth timing.
    """
    x = np.random.default_rng(0).normal(size=(16, dim)).astype(np.float32)
    together = np.asarray(model.log_prob(x))
    alone = np.concatenate([model.log_prob(row[None]) for row in x])
    same = model.random or np.allclose(alone, together, rtol=1e-3)
    if not np.all(np.isfinite(together)) or not same:
        raise ArithmeticError(f"log_prob is {together} together, but {alone} alone.")


def use_all_cores() -> int:
    """Gives PyTorch, where it is installed, as many threads as JAX has: one for each core.

    To be called before the first import of PyTorch.
    """
    # Otherwise PyTorch's idle threads would keep the cores busy during the next program's turn.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cores = usable_cores()
    try:
        import torch
    except ImportError:
        return cores
    torch.set_num_threads(cores)
    return cores


def compare(
    title: str,
    calls: Mapping[str, Callable[[], object]],
    *,
    reference: str,
    repeats: int,
    max_seconds: float,
    clock: Callable[[], float],
) -> dict[str, float]:
    """Times calls in turn; prints medians, quartiles, and each median over the reference's.

    Returns:
      The medians in seconds.
    """

    def program(call):
        def repeat(count):
            for _ in range(count):
                call()

        return repeat

    programs = {name: program(call) for name, call in calls.items()}
    times = interleaved(programs, repeats=repeats, max_seconds=max_seconds, clock=clock)
    medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
    print(f"\n{title}")
    for name, seconds in sorted(times.items(), key=lambda item: medians[item[0]]):
        median, lower, upper = quartiles(seconds)
        print(
            f"  {name:<16}{1e3 * median:12.2f} ms   ({1e3 * lower:.2f} … {1e3 * upper:.2f})"
            f"{median / medians[reference]:10.2f} x {reference}   {len(seconds)} rounds",
            flush=True,
        )
    return medians
