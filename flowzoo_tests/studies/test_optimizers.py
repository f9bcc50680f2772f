"""The study of optimizers, on the smallest of runs."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.studies import optimizers
from flowzoo.studies.curves import curve
from flowzoo.studies.optimizers import STUDY, Found, measure
from flowzoo.studies.study import Record, settings
from flowzoo.studies.tasks import METHODS, TASKS, Cell, Scaled, run_of, stretch

CELL = Cell("moons", "relative_muon", 0.1, 0, "own", 1.0, False)


def first_nats(cell):
    return curve(**run_of(cell, 0))["validation"][0]


def test_a_stretch_has_the_condition_number_that_it_is_asked_for():
    for condition in (10.0, 1e6):
        size = np.linalg.svd(stretch(8, condition), compute_uv=False)
        np.testing.assert_allclose(size[0] / size[-1], condition, rtol=1e-6)
        np.testing.assert_allclose(np.linalg.slogdet(stretch(8, condition))[1], 0, atol=1e-9)


def test_a_moved_start_has_the_same_likelihood_on_stretched_data():
    plain, same = first_nats(CELL), first_nats(CELL._replace(condition=1e4))
    moved = first_nats(CELL._replace(condition=1e4, moved=True))
    assert moved == pytest.approx(plain, rel=1e-4) and abs(same - plain) > 1


@pytest.mark.parametrize("start", ["normal", "identity", "whitening"])
def test_starts_differ_where_the_seed_is_the_same(start):
    nats = first_nats(CELL._replace(start=start))
    assert np.isfinite(nats) and abs(nats - first_nats(CELL)) > 0.01


@pytest.mark.parametrize("method", ["cayley", "svd", "muon_ordinary", "relative_muon_8th"])
def test_each_kind_of_method_trains(method):
    found = curve(**run_of(CELL._replace(method=method, rate=0.03), 1), points=1)
    assert found["best"] > found["validation"][0] + 0.1
    assert found["epochs"] == [0, 1] and found["steps"] == 50 and found["seconds"][1] > 0


def test_a_run_that_diverges_ends_there():
    found = curve(**run_of(CELL._replace(method="sgd_ordinary", rate=1e6), 3))
    assert found["epochs"] == [0] and found["best"] == found["validation"][0]


def test_the_layer_of_a_rotation_and_scales(x64):
    rng = np.random.default_rng(0)
    layer = Scaled(3, rngs=nnx.Rngs(0))
    layer.q.weight[...] = jnp.array(rng.normal(size=(3, 3)))
    layer.log_scale[...] = jnp.array(rng.normal(size=3))
    x = jnp.array(rng.normal(size=(5, 3)))
    z, log_det = layer.forward_and_log_det(x)
    jacobian = jax.jacobian(layer.forward)(x[0])
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(jacobian)[1], rtol=1e-9)
    np.testing.assert_allclose(layer.inverse(z), x, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        jacobian.T @ jacobian, np.diag(np.exp(2 * layer.log_scale[...])), atol=1e-6
    )


def scripted(best, length=3):
    epochs = list(range(length))
    nats = [best - 1.0 + i / (length - 1) for i in epochs]
    return {
        "epochs": epochs,
        "seconds": [0.1 * i for i in epochs],
        "train": nats,
        "validation": nats,
        "best": best,
        "steps": 10,
    }


def test_the_best_rate_by_validation_is_kept_and_seeds_follow_it(monkeypatch):
    chosen = settings(
        STUDY,
        dict(tasks=("moons",), methods=("relative_muon",), starts=("own",), conditions=(1.0,)),
    )
    asked = []

    def run(cell, epochs, data_dir):
        asked.append(cell)
        return scripted({0.01: -3.0, 0.03: -1.0, 0.1: -2.0, 0.3: -9.0}[cell.rate] + cell.seed / 10)

    monkeypatch.setattr(optimizers, "_measure", run)
    found = measure(chosen, Record(None, STUDY.name))
    assert [cell.rate for cell in asked if cell.seed == 0] == list(METHODS["relative_muon"].rates)
    assert [(c.rate, c.seed) for c in asked if c.seed > 0] == [(0.03, 1), (0.03, 2)]
    text = optimizers.table(found)
    assert "| relative_muon | 0.03 | -0.90 ± 0.10 | 20.00 |" in text
    assert optimizers.draw(found).axes


@pytest.mark.parametrize("peak, tried", [(0.03, 4), (0.003, 6), (3.0, 7), (1e9, 8), (1e-9, 8)])
def test_rates_are_tried_beyond_an_end_that_is_the_best(peak, tried):
    asked = []

    def score(rate):
        asked.append(rate)
        return -abs(np.log10(rate / peak))

    best = optimizers.best_rate((0.01, 0.03, 0.1, 0.3), score)
    assert len(asked) == len(set(asked)) == tried
    assert best == (peak if 1e-3 < peak < 10 else sorted(asked)[0 if peak < 1 else -1])


def test_other_starts_and_conditions_have_tables_of_their_own(monkeypatch):
    given = dict(tasks=("moons", "digits_learned"), methods=("adam_relative", "sgd_relative"))
    chosen = settings(STUDY, given | dict(conditions=(1.0, 1e4), seeds=1))

    def run(cell, epochs, data_dir):
        return scripted(-1.0 - np.log10(cell.condition) * (not cell.moved) - len(cell.start))

    monkeypatch.setattr(optimizers, "_measure", run)
    found = measure(chosen, Record(None, STUDY.name))
    assert isinstance(found, Found)
    text = optimizers.table(found)
    assert "| adam_relative | -4.00 | -7.00 | -9.00 | -10.00 |" in text  # by start
    assert (
        "| adam_relative | -4.00 | -8.00 |" in text and "| adam_relative | -4.00 | -4.00 |" in text
    )
    # Plain descent does not train learned maps.
    assert optimizers.methods(chosen, "digits_learned") == ["adam_relative"]
    assert optimizers.draw(found).axes


def test_every_task_names_a_model_and_a_dataset():
    for task in TASKS.values():
        assert task.keys["dataset"]["name"] and task.keys["model"]["name"] and task.epochs > 0


def test_a_curve_of_a_mixture_has_the_correlation_with_its_sources(monkeypatch):
    task = TASKS["four_layers"]
    keys = task.keys | dict(dataset=dict(name="ica/linear"), conditional=False, optimizer={})
    keys |= dict(model=dict(name="unmixing", num_layers=1, family="hyperbolic_secant"))
    monkeypatch.setitem(TASKS, "four_layers", task._replace(keys=keys))
    found = curve(**run_of(CELL._replace(task="four_layers"), 5), points=1)
    assert len(found["mcc"]) == len(found["epochs"]) == 2
    assert 0 < found["mcc"][0] < found["mcc"][1] - 0.1 < 1


def test_correlations_have_a_column_and_a_panel(monkeypatch):
    given = dict(tasks=("four_layers",), methods=("relative_muon",), starts=("own",))
    chosen = settings(STUDY, given | dict(conditions=(1.0,), seeds=1))
    curves = scripted(-1.0) | {"mcc": [0.1, 0.2, 0.75]}
    monkeypatch.setattr(optimizers, "_measure", lambda cell, epochs, data_dir: curves)
    found = measure(chosen, Record(None, STUDY.name))
    assert optimizers.table(found).endswith("| 20.00 | 0.750 |")
    assert optimizers.draw(found).axes[2].get_ylabel() == "correlation with the sources"
