"""What each part of the fully connected flow and of its training is worth, at equal wall time.

    python -m flowzoo.benchmarks.ablation --config=configs/digits.py --seconds=3
    python -m flowzoo.benchmarks.ablation --config=configs/mnist.py --seconds=120

Starting from the paper's architecture one thing after another is changed, towards the config's
default model. Each variant is trained by the relative gradient and
by the ordinary one for the same number of seconds, compilation and evaluations not counted: as many
epochs as fit, with the schedule stretched over them. Printed are the test log-likelihoods in nats.
"""

import time

from absl import flags
import jax
from ml_collections import config_dict
import numpy as np

from flowzoo import command_line
from flowzoo.data.dataset import Dataset
from flowzoo.training.config import changed
from flowzoo.training.devices import enable_compilation_cache
from flowzoo.training.evaluation import test_results
from flowzoo.training.loop import NonFinite, Run, load_data
from flowzoo.training.state import merge

_CONFIG = command_line.define_config("digits")
_SECONDS = flags.DEFINE_float("seconds", 20.0, "Training time of each run.")
_GRADIENTS = flags.DEFINE_list("gradients", ["relative", "ordinary"], "Gradient rules.")

PLAIN = dict(
    learning_rate=1e-3,
    schedule="constant",
    dense_learning_rate=None,
    clip_norm=None,
    warmup_steps=0,
)


def variants(best: config_dict.ConfigDict) -> dict[str, config_dict.ConfigDict]:
    """The configs from the paper's model to the best, each one change away from the one before.

    Raises:
      ValueError: if the best is not a `fully_connected_learned`.
    """
    final = best.model.to_dict()
    if final["name"] != "fully_connected_learned":
        raise ValueError(
            f"--config names the model {final['name']}, expected fully_connected_learned."
        )
    paper = dict(name="fully_connected", base=final["base"], use_bias=final["use_bias"])
    centred = dict(name="smooth_leaky_relu", center=1.5)
    radial = tuple(record for record in final["after_dense"] if record["name"] == "radial")
    maps = {key: final[key] for key in ("inner", "outer")}
    plain = dict(num_layers=2, after_dense=(), after_map=())
    for key, record in maps.items():
        starts = record is not None and "init" in record
        plain[key] = record | {"init": "identity"} if starts else record
    across = {key: final[key] for key in ("after_dense", "after_map")}
    models = {
        "paper": paper,
        "+ whitening start": paper | dict(whiten=True, init=final["init"], nonlinearity=centred),
        "+ learned nonlinearities": final | plain,
        "+ normal marginals at the start": final | plain | maps,
        "+ radial transforms": final | plain | maps | dict(after_dense=radial),
        "+ divisive normalization": final | plain | maps | across,
        "+ depth": final,
    }
    found = {}
    for name, model in models.items():
        config = changed(best, model=model, optimizer=PLAIN, parameter_average=0.0)
        if config not in found.values():
            found[name] = config
    found["+ rates, schedule, averaging"] = best
    found["twice as deep"] = changed(best, model=dict(num_layers=2 * final["num_layers"]))
    return found


def epochs_that_fit(config: config_dict.ConfigDict, dataset: Dataset, seconds: float) -> int:
    """How many epochs of training take about so many seconds."""
    run = Run(config, dataset)
    state = run.start()
    run.compile_steps(state)
    order = run.shuffle(state.key, 0)
    elapsed = []
    # The first dispatch is a warm-up.
    for stop in np.linspace(0, run.steps_per_epoch, 4).astype(np.int32)[1:]:
        began, first = time.perf_counter(), int(state.step)
        state, _ = jax.block_until_ready(run.run_steps(state, run.x, run.labels, order, stop))
        elapsed.append((time.perf_counter() - began) / (stop - first))
    return max(1, round(seconds / (min(elapsed[1:]) * run.steps_per_epoch)))


def train(config: config_dict.ConfigDict, dataset: Dataset) -> tuple[float, float]:
    """Test nats of the epoch best by validation, and the seconds spent in training steps.

    Minus infinity if training diverged.
    """
    run = Run(config, dataset)
    state = run.start()
    run.compile_steps(state)
    evaluate_at = set(np.linspace(0, config.num_epochs, 21).astype(int)[1:])
    seconds = 0.0
    for epoch in range(config.num_epochs):
        order = jax.block_until_ready(run.shuffle(state.key, epoch))
        began = time.perf_counter()
        stop = np.int32((epoch + 1) * run.steps_per_epoch)
        state, report = jax.block_until_ready(run.run_steps(state, run.x, run.labels, order, stop))
        seconds += time.perf_counter() - began
        if int(report.failed_step) >= 0:
            return -np.inf, seconds
        if epoch + 1 in evaluate_at:
            try:
                state, _ = run.evaluate(state)
            except NonFinite:
                return -np.inf, seconds
    best = state.variables._replace(params=state.best.params, statistics=state.best.statistics)
    return test_results(merge(run.graph, best), dataset)["log_likelihood_nats"], seconds


def main(argv: list[str]) -> None:
    del argv
    enable_compilation_cache()
    best = command_line.config(_CONFIG.value)
    dataset = load_data(best)
    print(f"{dataset.name}, {_SECONDS.value:g} s of training each, test log-likelihood in nats")
    print("| variant | " + " | ".join(f"{g} (epochs)" for g in _GRADIENTS.value) + " |")
    print("| --- |" + " --- |" * len(_GRADIENTS.value))
    for name, config in variants(best).items():
        cells = []
        for gradient in _GRADIENTS.value:
            config = changed(config, gradient=gradient)
            config.num_epochs = epochs_that_fit(config, dataset, _SECONDS.value)
            nats, _ = train(config, dataset)
            cells.append(f"{nats:.2f} ({config.num_epochs})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    command_line.run(main)
