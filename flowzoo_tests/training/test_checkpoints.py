import shutil

import chex
import jax
import numpy as np
import pytest

from flowzoo.numerics.named_arrays import from_arrays, to_arrays
from flowzoo.reporting.results import train_and_evaluate
from flowzoo.training.checkpoints import Checkpoints
from flowzoo.training.load import load_run
from flowzoo.training.loop import Run, load_data
from flowzoo_tests.training.small import MODEL, small_config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its workdir and its results."""
    workdir = tmp_path_factory.mktemp("finished") / "run"
    return workdir, train_and_evaluate(small_config(), workdir)


@pytest.fixture
def workdir(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "run")


def final_state(workdir, config=None):
    config = config or small_config()
    run = Run(config, load_data(config))
    checkpoints = Checkpoints(workdir, read_only=True)
    try:
        return jax.device_get(checkpoints.restore(run.place(run.flow)))
    finally:
        checkpoints.close()


def test_results_say_what_was_run(finished):
    workdir, results = finished
    assert results["dataset"] == "digits" and results["name"] == small_config().name
    assert results["num_parameters"] == 2 * (64 * 64 + 64)
    assert results["epochs"] == 2 and results["best_epoch"] in (1, 2)
    assert -200 < results["log_likelihood_nats"] < -50
    assert 0 < results["two_standard_errors"] < 10 and 1 < results["bits_per_dim"] < 4
    for name in ("results.json", "config.json", "metrics.jsonl", "samples.png", "curve.png"):
        assert (workdir / name).stat().st_size > 0
    events = [path for path in workdir.iterdir() if path.name.startswith("events")]
    assert len(events) == 2
    assert sum(path.name.endswith(".samples") and b"PNG" in path.read_bytes() for path in events)


def test_a_run_that_is_cut_into_pieces_ends_in_the_same_state(finished, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    real, calls = Checkpoints.save, []

    def save_and_die(self, state):
        real(self, state)
        self.wait()
        calls.append(int(state.step))
        if len(calls) < 4:
            raise Killed

    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    config = small_config(checkpoint_seconds=0.0)
    monkeypatch.setattr("flowzoo.training.workdir.claim", lambda *_: None)
    for _ in range(3):
        with pytest.raises(Killed):
            train_and_evaluate(config, tmp_path / "run")
    results = train_and_evaluate(config, tmp_path / "run")
    assert calls[:3] == sorted(set(calls[:3])) and calls[2] < 50
    assert results["log_likelihood_nats"] == finished[1]["log_likelihood_nats"]
    chex.assert_trees_all_equal(
        to_arrays(final_state(tmp_path / "run")), to_arrays(final_state(finished[0]))
    )


def test_the_flow_of_a_workdir_scores_as_the_run_said(finished):
    from flowzoo.training.evaluation import test_results as score

    flow, dataset, _ = load_run(finished[0])
    assert score(flow, dataset)["log_likelihood_nats"] == pytest.approx(
        finished[1]["log_likelihood_nats"], abs=1e-3
    )


def test_a_truncated_checkpoint_is_refused(workdir):
    arrays = max((workdir / "checkpoints").rglob("d/*"), key=lambda path: path.stat().st_size)
    arrays.write_bytes(arrays.read_bytes()[: arrays.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be restored"):
        final_state(workdir)


def test_a_foreign_checkpoint_names_what_does_not_fit(workdir):
    with pytest.raises(ValueError, match="missing .*unexpected none"):
        final_state(workdir, small_config(model=MODEL | dict(num_layers=3)))


def test_a_folder_without_checkpoints_is_said_to_be_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a workdir"):
        load_run(tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        Checkpoints(tmp_path, read_only=True)


def test_a_workdir_of_another_config_is_refused_with_the_keys(workdir):
    with pytest.raises(ValueError, match=r"batch_size \(there 16, now 32\)"):
        train_and_evaluate(small_config(batch_size=32), workdir)


def test_a_singular_weight_is_refused_at_load(workdir):
    config = small_config()
    run = Run(config, load_data(config))
    checkpoints = Checkpoints(workdir)
    state = checkpoints.restore(run.place(run.flow))
    arrays = to_arrays(state)
    name = next(n for n in arrays if n.startswith("best/") and n.endswith("weight"))
    arrays[name] = np.zeros_like(arrays[name])
    arrays["step"] = np.int32(int(state.step) + 1)
    checkpoints.save(from_arrays(arrays, state))
    checkpoints.close()
    with pytest.raises(ValueError, match="singular"):
        load_run(workdir)


def test_a_run_without_space_says_so(tmp_path, monkeypatch):
    def full(self, state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train_and_evaluate(small_config(num_epochs=1), tmp_path / "run")


def test_a_diverging_run_keeps_the_last_good_checkpoint(tmp_path):
    rising = dict(name="sgd", learning_rate=50.0, warmup_steps=2000)
    config = small_config(optimizer=rising, checkpoint_seconds=0.0, num_epochs=50)
    with pytest.raises(FloatingPointError, match=r"at step \d+ \(epoch \d+\)") as diverged:
        train_and_evaluate(config, tmp_path / "run")
    state = final_state(tmp_path / "run", config)
    assert int(state.step) > 0
    assert f"The checkpoint of step {state.step} is kept" in str(diverged.value)
    chex.assert_tree_all_finite(to_arrays(state.variables))


def test_flipped_bits_are_refused(workdir):
    (checkpoint,) = sorted((workdir / "checkpoints").iterdir())[-1:]
    files = [path for item in ("best", "progress") for path in (checkpoint / item).rglob("*")]
    files = [p for p in files if p.is_file() and p.name != "commit_success.txt"]
    rng = np.random.default_rng(0)
    for _ in range(40):
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be restored"):
            final_state(workdir)
        path.write_bytes(whole)
    final_state(workdir)
    next(iter((checkpoint / "best" / "d").iterdir())).unlink()
    with pytest.raises(ValueError, match="best/d/.* is not the one that was saved"):
        load_run(workdir)
