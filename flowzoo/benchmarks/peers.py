"""Flows of several libraries behind one face, to be timed against each other."""

from collections.abc import Callable, Mapping
import os

from absl import logging
import jax
import numpy as np
import optax

from flowzoo.benchmarks.timing import interleaved, quartiles


class TorchModel:
    """The calls of a PyTorch flow that are timed.

    Args:
      module: holds the parameters.
      log_prob: `[B, D] -> [B]`.
      sample: `n -> [n, D]`.
    """

    def __init__(self, module, log_prob: Callable, sample: Callable):
        import torch

        self._torch = torch
        self._log_prob, self._sample = log_prob, sample
        self._optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)

    def sample(self, n: int):
        with self._torch.no_grad():
            return self._sample(n).numpy()

    def log_prob(self, x: np.ndarray):
        with self._torch.no_grad():
            return self._log_prob(self._torch.from_numpy(x)).numpy()

    def train_step(self, x: np.ndarray) -> None:
        self._optimizer.zero_grad()
        (-self._log_prob(self._torch.from_numpy(x)).mean()).backward()
        self._optimizer.step()


class JaxModel:
    """The calls of a JAX flow that are timed, each one compiled program.

    Args:
      parameters: a pytree of arrays.
      merge: makes a flow of parameters.
      log_prob: `(flow, [B, D]) -> [B]`.
      sample: `(flow, key, n) -> [n, D]`.
    """

    def __init__(self, parameters, merge: Callable, log_prob: Callable, sample: Callable):
        optimizer = optax.adam(1e-4)
        # A copy, because the training step gives its arguments' memory away.
        self._parameters = jax.tree.map(lambda a: a.copy(), parameters)
        self._state = optimizer.init(parameters)
        self._key = jax.random.key(0)

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


Model = JaxModel | TorchModel


def build_models(builders: Mapping[str, Callable[..., Model]], *args) -> dict[str, Model]:
    """name -> checked model, of the libraries that can be imported; the log names the others.

    Raises:
      ArithmeticError: if a model's densities are wrong in a way that needs no reference to see.
    """
    models = {}
    for name, builder in builders.items():
        try:
            models[name] = builder(*args)
        except ImportError as error:
            logging.warning("%s is left out, it cannot be imported: %s", name, error)
    return models


def check_density(name: str, model: Model, dim: int) -> None:
    """Raises ArithmeticError unless log-densities are finite and the same alone and among others.

    Some PyTorch builds give silently wrong batched results on some processors, and a wrong program
    is not worth timing.
    """
    x = np.random.default_rng(0).normal(size=(16, dim)).astype(np.float32)
    together = np.asarray(model.log_prob(x))
    alone = np.concatenate([model.log_prob(row[None]) for row in x])
    if not np.all(np.isfinite(together)) or not np.allclose(alone, together, rtol=1e-3):
        raise ArithmeticError(f"{name}: log_prob is {together} together, but {alone} alone.")


def use_all_cores() -> int:
    """Gives PyTorch, where it is installed, as many threads as JAX has: one for each core."""
    cores = len(os.sched_getaffinity(0))
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
) -> None:
    """Times calls in turn; prints medians, quartiles, and each median over the reference's."""

    def program(call):
        def repeat(count):
            for _ in range(count):
                call()

        return repeat

    programs = {name: program(call) for name, call in calls.items()}
    times = interleaved(programs, repeats=repeats, max_seconds=max_seconds)
    unit = np.median(times[reference])
    print(f"\n{title}")
    for name, seconds in sorted(times.items(), key=lambda item: np.median(item[1])):
        median, lower, upper = quartiles(seconds)
        print(
            f"  {name:<16}{1e3 * median:12.2f} ms   ({1e3 * lower:.2f} … {1e3 * upper:.2f})"
            f"{median / unit:10.2f} x {reference}   {len(seconds)} rounds",
            flush=True,
        )
