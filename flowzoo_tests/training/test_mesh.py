"""Matrices split over devices."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from flowzoo.data.dataset import Dataset, Split
from flowzoo.reporting.results import train_and_evaluate
from flowzoo.training.checkpoints import Checkpoints
from flowzoo.training.devices import make_mesh
from flowzoo.training.loop import Run, load_data
from flowzoo.training.state import merge
from flowzoo.transforms import Affine
from flowzoo_tests.training.small import small_config

ROOT = pathlib.Path(__file__).parents[2]
MAF = dict(name="maf", num_layers=2, hidden_sizes=(32,), batch_norm=True)


def run_on(rows, parts, *, model=None, dataset=None, **keys):
    config = small_config(**keys, **({} if model is None else dict(model=model)))
    return Run(config, dataset or load_data(config), make_mesh(rows, parts))


def take(run, state, stop):
    order = run.shuffle(state.key, 0)
    state, report = run.run_steps(state, run.x, run.labels, order, np.int32(stop))
    assert report.failed_step == -1
    return state, report


def error(state, reference):
    """Largest relative error of a parameter array."""
    pairs = zip(*(jax.tree.leaves(s.variables.params) for s in (state, reference)), strict=True)
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in pairs]
    return max(np.linalg.norm(a - b) / (1e-3 + np.linalg.norm(b)) for a, b in pairs)


# Adam would blow up the rounding errors of the biases before MAF's batch norm: their gradient is 0.
SGD = dict(name="sgd", learning_rate=1e-3)


@pytest.mark.parametrize(
    "keys", [{}, dict(model=MAF, optimizer=SGD)], ids=["fully_connected", "maf"]
)
def test_a_mesh_trains_as_one_device(keys):
    one, split = run_on(1, 1, **keys), run_on(2, 4, **keys)
    expected, report = take(one, one.start(), 20)
    state, split_report = take(split, split.start(), 20)
    assert error(state, expected) < 1e-4
    np.testing.assert_allclose(split_report.gradient_norm, report.gradient_norm, rtol=1e-3)
    matrices = [a for a in jax.tree.leaves((state.variables, state.opt_state)) if a.ndim > 1]
    assert matrices and all(a.sharding.spec[-1] == "model" for a in matrices if a.shape[-1] > 2)
    nats = [
        run.log_probs(merge(run.graph, s.variables), *run.unseen)
        for run, s in ((one, expected), (split, state))
    ]
    np.testing.assert_allclose(nats[1], nats[0], rtol=1e-3)


def test_memory_per_device_falls_with_their_number():
    dim = 256
    split = Split(np.random.default_rng(0).normal(size=(64, dim)).astype(np.float32))
    dataset = Dataset(
        name="noise", train=split, validation=split, test=split, preprocessing=Affine((dim,))
    )
    model = dict(name="fully_connected", num_layers=2, init="identity")
    floats = {}
    for parts in (1, 2, 8):
        run = run_on(1, parts, model=model, dataset=dataset)
        state = run.start()
        order = run.shuffle(state.key, 0)
        memory = run.run_steps.lower(state, run.x, None, order, np.int32(1)).compile()
        memory = memory.memory_analysis()
        arguments = sum(a.addressable_shards[0].data.nbytes for a in jax.tree.leaves(state))
        floats[parts] = np.array([arguments, memory.temp_size_in_bytes]) / 4 / dim**2
    # Parameters, two moments and the best parameters of two layers; then what a step takes.
    np.testing.assert_allclose([floats[n][0] * n for n in (1, 2, 8)], 8, rtol=0.2)
    assert floats[2][1] < 0.75 * floats[1][1] and floats[8][1] < 0.4 * floats[1][1]


def test_a_checkpoint_is_restored_on_another_mesh(tmp_path):
    split = run_on(2, 4)
    state, _ = take(split, split.start(), 3)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state)
    checkpoints.wait()
    expected, _ = take(split, state, 6)
    for shape in ((8, 1), (1, 1), (1, 8)):
        run = run_on(*shape)
        restored = checkpoints.restore(run.place(run.flow))
        assert restored.step == 3 and restored.step.sharding.mesh.devices.shape == shape
        resumed, _ = take(run, restored, 6)
        assert error(resumed, expected) < 1e-5
    checkpoints.close()


def test_a_split_run_is_loaded_where_there_is_one_device(tmp_path):
    config = small_config(mesh=dict(data=2, model=4), num_epochs=1)
    results = train_and_evaluate(config, tmp_path / "run")
    program = (
        "import json, jax; from flowzoo.training.load import load_run\n"
        "from flowzoo.training.evaluation import test_results\n"
        "flow, dataset, _ = load_run('run')\n"
        "print(json.dumps([jax.device_count(), test_results(flow, dataset)]))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    count, again = json.loads(done.stdout.splitlines()[-1])
    assert count == 1
    assert again["log_likelihood_nats"] == pytest.approx(results["log_likelihood_nats"], rel=1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (3, 3), (9, 1), (-1, 1), (1, 0)])
def test_a_mesh_that_does_not_fit(shape):
    with pytest.raises(ValueError, match="does not fit the 8 devices"):
        make_mesh(*shape)
