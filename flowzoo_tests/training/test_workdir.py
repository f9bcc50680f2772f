"""Whose a workdir is: one run's at a time, which may be made longer."""

import json
import os
import signal

import chex
import jax
import pytest

from flowzoo.numerics.named_arrays import to_arrays
from flowzoo.reporting.results import train_and_evaluate
from flowzoo.training import signals
from flowzoo.training.checkpoints import Checkpoints
from flowzoo.training.config import changed
from flowzoo.training.loop import Run, load_data
from flowzoo.training.workdir import CONFIG, OWNER, last_checkpoint, load_config, owned, read_json
from flowzoo_tests.training.small import small_config


def final_state(workdir):
    config = load_config(workdir)
    run = Run(config, load_data(config))
    checkpoints = Checkpoints(workdir, read_only=True)
    try:
        return to_arrays(jax.device_get(checkpoints.restore(run.place(run.flow))))
    finally:
        checkpoints.close()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A finished run of four epochs, and its results."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    return workdir, train_and_evaluate(small_config(num_epochs=4), workdir)


def test_a_longer_run_goes_on_as_if_it_had_been_asked_for_at_first(straight, tmp_path):
    train_and_evaluate(small_config(num_epochs=2), tmp_path / "run")
    longer = small_config(num_epochs=4, checkpoint_seconds=7.0)
    results = train_and_evaluate(longer, tmp_path / "run")
    assert results["log_likelihood_nats"] == straight[1]["log_likelihood_nats"]
    chex.assert_trees_all_equal(final_state(tmp_path / "run"), final_state(straight[0]))
    assert load_config(tmp_path / "run").num_epochs == 4
    with pytest.raises(ValueError, match=r"num_epochs \(there 4, now 2\).*num_epochs and patience"):
        train_and_evaluate(small_config(num_epochs=2), tmp_path / "run")


def test_of_a_longer_run_the_cosine_is_that_of_all_its_epochs():
    """So that the rate rises again where the shorter run had come to zero."""
    rates = []
    for num_epochs in (2, 4):
        config = small_config(num_epochs=num_epochs, optimizer=dict(schedule="cosine"))
        run = Run(config, load_data(config))
        params = run.start().variables.params
        gradients = jax.tree.map(lambda a: 1.0 + 0 * a, params)
        opt_state = jax.tree.map(
            lambda a: 0 * a + 50 if a.dtype == "int32" else a, run.optimizer.init(params)
        )
        updates, _ = run.optimizer.update(gradients, opt_state, params)
        rates.append(max(float(abs(a).max()) for a in jax.tree.leaves(updates)))
    assert rates[0] < 1e-9 < 1e-5 < rates[1]


def test_a_run_that_saved_nothing_does_not_stand_in_the_way(tmp_path):
    fast = small_config(optimizer=dict(name="sgd", learning_rate=1e6))
    with pytest.raises(FloatingPointError, match=r"at step \d+") as diverged:
        train_and_evaluate(fast, tmp_path)
    assert "kept" not in str(diverged.value) and last_checkpoint(tmp_path) is None
    slow = changed(fast, optimizer=dict(learning_rate=1e-3), num_epochs=1)
    assert train_and_evaluate(slow, tmp_path)["epochs"] == 1
    assert load_config(tmp_path).optimizer.learning_rate == 1e-3
    with pytest.raises(ValueError, match=r"learning_rate \(there 0.001, now 1000000.0\)"):
        train_and_evaluate(changed(fast, num_epochs=1), tmp_path)


def test_data_may_move_and_titles_change(straight, tmp_path):
    config = small_config(num_epochs=4, dataset=dict(data_dir=str(tmp_path)), title="Another")
    with owned(straight[0], config):
        assert read_json(straight[0] / CONFIG)["title"] == "Another"


def test_a_run_of_before_a_key_was_there_goes_on(straight):
    path = straight[0] / CONFIG
    text = path.read_text()
    older = {k: v for k, v in json.loads(text).items() if k != "objective"}
    path.write_text(json.dumps(older))
    try:
        with owned(straight[0], small_config(num_epochs=4, title="Another")):
            pass
    finally:
        path.write_text(text)


def test_one_process_at_a_time(tmp_path):
    config = small_config()
    with owned(tmp_path, config):
        with pytest.raises(ValueError, match=rf"process {os.getpid()} of .* trains already"):
            train_and_evaluate(config, tmp_path)
    # What a killed process left says nothing: its lock went with it.
    (tmp_path / OWNER).write_text(json.dumps({"process": 1, "host": "h", "since": "then"}))
    with owned(tmp_path, config):
        assert read_json(tmp_path / OWNER)["process"] == os.getpid()
    assert not (tmp_path / OWNER).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_behind_a_checkpoint(straight, tmp_path, monkeypatch, number):
    evaluate = Run.evaluate

    def evaluate_and_kill(self, state):
        if int(state.step) == 50:
            signal.raise_signal(number)
        return evaluate(self, state)

    before = signal.getsignal(number)
    monkeypatch.setattr(Run, "evaluate", evaluate_and_kill)
    config = small_config(num_epochs=4)
    with pytest.raises(signals.Stopped, match=rf"by {number.name} at step 50 \(epoch 2\)") as ended:
        train_and_evaluate(config, tmp_path / "run")
    assert ended.value.code == 128 + number
    assert last_checkpoint(tmp_path / "run") == 50 and signal.getsignal(number) is before
    monkeypatch.undo()
    results = train_and_evaluate(config, tmp_path / "run")
    assert results["log_likelihood_nats"] == straight[1]["log_likelihood_nats"]
    chex.assert_trees_all_equal(final_state(tmp_path / "run"), final_state(straight[0]))


def test_the_second_signal_does_what_it_did_before():
    # A shell without a terminal starts background processes in which nobody handles it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), signals.caught() as number:
            signal.raise_signal(signal.SIGINT)
            assert number() == signal.SIGINT
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    """As TensorStore says it; with a real limit in `test_command_line`."""

    def full(self, *_, **__):
        raise ValueError('RESOURCE_EXHAUSTED: Failed writing "x": No space left on device [more]')

    config = small_config(num_epochs=2)
    train_and_evaluate(changed(config, num_epochs=1), tmp_path)
    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", full)
    sentence = (
        "cannot be written to .*checkpoints: No space left on device. That of step 25 is kept"
    )
    with pytest.raises(OSError, match=sentence):
        train_and_evaluate(config, tmp_path)
