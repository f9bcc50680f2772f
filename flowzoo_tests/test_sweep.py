import json
import pathlib

import pytest

from flowzoo import sweep
from flowzoo.training.config import changed, choose
from flowzoo.training.grid import combinations

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
ENTRIES = {"flow": dict(title="Flow", model=dict(name="fully_connected", num_layers=2))}
CONFIG = choose(None, ENTRIES, name="digits", dataset=dict(name="digits", data_dir="here"))


@pytest.fixture
def trained(monkeypatch):
    """A stand-in for training, and the rates that it was called with."""
    rates = []

    def train_and_evaluate(config, workdir, *, start):
        rates.append(config.optimizer.learning_rate)
        if rates[-1] == 1.0:
            raise FloatingPointError("Training stopped: the likelihood became non-finite.")
        results = {
            "validation_nats": -abs(rates[-1] - 0.01),
            "log_likelihood_nats": rates[-1],
            "two_standard_errors": 0.5,
            "num_parameters": 1234,
            "best_epoch": 3,
            "epochs": 5,
            "wall_seconds": 300,
        }
        (workdir / "results.json").write_text(json.dumps(results))

    monkeypatch.setattr("flowzoo.reporting.results.train_and_evaluate", train_and_evaluate)
    return rates


def test_best_by_validation_wins_and_finished_runs_are_kept(trained, tmp_path):
    configs = combinations(CONFIG, {"learning_rate": [1e-3, 1.0]})
    sweep.run_all(configs, tmp_path)
    configs = combinations(CONFIG, {"learning_rate": [1e-3, 1.0, 0.011, 0.1]})
    results = sweep.run_all(configs, tmp_path)
    assert trained == [1e-3, 1.0, 0.011, 0.1]
    assert [label for label, _ in sweep.best_first(results)] == [
        "learning_rate=0.011",
        "learning_rate=0.001",
        "learning_rate=0.1",
    ]
    table = sweep.summary(results, len(configs)).splitlines()
    assert table[2].startswith("| **learning_rate=0.011** | **-0.001** | **0.01 ± 0.50** |")
    assert "| 1,234 | 3 of 5 | 5 min |" in table[3] and table[-1] == "1 of 4 runs diverged."


def test_a_folder_of_another_run_is_refused(trained, tmp_path):
    configs = combinations(CONFIG, {"num_layers": [2]})
    sweep.run_all(configs, tmp_path)
    configs["num_layers=2"] = changed(CONFIG, batch_size=7)
    with pytest.raises(ValueError, match="belongs to a run with another config.*batch_size"):
        sweep.run_all(configs, tmp_path)


def test_arguments():
    rest, swept = sweep.take_sweep(
        ["sweep.py", "--config=sweep.py", "--sweep=paper", "--sweep.num_layers=1,2", "-v"]
    )
    assert rest == ["sweep.py", "--config=sweep.py", "-v"]
    grid = sweep.make_grid(swept)
    assert grid["num_layers"] == [1, 2] and grid["use_bias"] == (True, False)
    with pytest.raises(ValueError, match="--sweep is 'all', expected one of paper"):
        sweep.make_grid({"sweep": "all"})
    with pytest.raises(ValueError, match="Nothing is swept. Example: python -m flowzoo.sweep"):
        sweep.make_grid({})


def test_baselines_have_one_and_two_hidden_layers_of_any_width():
    found = sweep.matched_baselines(f"{CONFIGS / 'digits.py'}:smoke", ["made"], CONFIG, 5000)
    assert [c.model.hidden_sizes for c in found.values()] == [(1,), (1, 1)]
    for baseline in found.values():
        assert (baseline.num_parameters, baseline.num_epochs) == (5000, 1)
        assert baseline.dataset.data_dir == "here"
    with pytest.raises(ValueError, match="gaussian, whose config has no hidden_sizes"):
        sweep.matched_baselines(str(CONFIGS / "digits.py"), ["gaussian"], CONFIG, 5000)
