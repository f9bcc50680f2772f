"""Memory and time of a training step by what it keeps of activations, `config.activations`.

    python -m flowzoo.benchmarks.activations [--configs=bsds300,cifar10_png:glow] [--repeats=5]

The gradient of a config's loss on a batch of random numbers: the temporary memory of the compiled
program, and the time of the processors, the median over rounds in which the programs take turns.
The gradients run in a loop, as in training, so that their memory is taken from the system once.
"""

import importlib
import time

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo import command_line, zoo
from flowzoo.benchmarks.timing import Program, interleaved
from flowzoo.reporting.tables import markdown
from flowzoo.training.config_checks import GRADIENTS
from flowzoo.training.state import split
from flowzoo.training.step import Batch, make_loss
from flowzoo.transforms.activations import ACTIVATIONS

SIZES = {"bsds300": 63, "digits": 64, "mnist": 784, "fashion_mnist": 784, "cifar10_png": 3072}


def gradients(config, activations: str, dim: int, batch_size: int) -> tuple[float, Program]:
    """Temporary memory in MB, and the program that computes the gradient so many times."""
    flow = zoo.build(config.model, (dim,), rngs=0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(batch_size, dim)), jnp.float32)
    variables = split(flow)[1]
    loss = make_loss(flow, GRADIENTS[config.gradient], activations=activations)

    @jax.jit
    def repeat(params, x, count):
        def once(_, params):
            found = jax.grad(loss, has_aux=True)(
                params, variables._replace(params=params), Batch(x, None)
            )[0]
            return jax.tree.map(lambda p, g: p - 1e-12 * g, params, found)

        return jax.lax.fori_loop(0, count, once, params)

    compiled = repeat.lower(variables.params, x, 1).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes / 1e6
    return memory, lambda count: jax.block_until_ready(compiled(variables.params, x, count))


def main(names: list[str], batch_size: int, repeats: int) -> None:
    """Measures all configs and prints the table."""
    rows = []
    for name in names:
        file, _, argument = name.partition(":")
        if file not in SIZES:
            raise ValueError(f"--configs names {file!r}, expected some of {', '.join(SIZES)}.")
        config = importlib.import_module(f"flowzoo.configs.{file}").get_config(argument)
        size = batch_size or config.batch_size
        memory, programs = {}, {}
        for activations in ACTIVATIONS:
            try:
                memory[activations], programs[activations] = gradients(
                    config, activations, SIZES[file], size
                )
            except ValueError as error:  # Layers that are not inverted.
                print(f"{name}: {error}")
        times = interleaved(programs, repeats=repeats, min_seconds=0.2, clock=time.process_time)
        seconds = {key: float(np.median(of)) for key, of in times.items()}
        for key, one in seconds.items():
            rows.append(
                [
                    f"{config.name}, batch {size}",
                    key,
                    f"{memory[key]:.0f} MB",
                    f"{1e3 * one:.0f} ms",
                    f"{memory[key] / memory['kept']:.2f}",
                    f"{one / seconds['kept']:.2f}",
                ]
            )
        print(markdown(("config", "activations", "memory", "time", "of memory", "of time"), rows))


if __name__ == "__main__":
    _CONFIGS = flags.DEFINE_list("configs", ["bsds300", "cifar10_png:glow"], "FILE[:ENTRY].")
    _BATCH = flags.DEFINE_integer("batch", 0, "Events in a batch, 0: the config's.", lower_bound=0)
    _REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds of measurements.", lower_bound=1)
    command_line.run(lambda argv: main(_CONFIGS.value, _BATCH.value, _REPEATS.value))
