import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.data import load_dataset
from flowzoo.studies import linear_layers
from flowzoo.studies.curves import curve
from flowzoo.studies.linear_layers import STUDY, TASKS, Kind
from flowzoo.studies.study import Record, settings
from flowzoo.studies.tasks import Cell, run_of
from flowzoo.training.evaluation import evaluation_key


def test_the_study(tmp_path, monkeypatch):
    few = {"layers": ("none", "dense")}
    small = TASKS["digits"]._replace(num_layers=1, num_bins=4, rates=(1e-3,))
    monkeypatch.setitem(TASKS, "digits", small)
    found = STUDY.measure(settings(STUDY, few, smoke=True), Record(None, STUDY.name))
    cells = {kind.layer: cell for kind, (_, cell) in found.best.items()}
    assert cells["dense"]["num_parameters"] > cells["none"]["num_parameters"]
    for cell in cells.values():
        assert np.isfinite(cell["log_likelihood_nats"]) and cell["error"] < 1e-4
        assert cell["best"] == max(cell["validation"])
    assert cells["dense"]["best"] > cells["dense"]["validation"][0] + 0.1
    assert len(STUDY.table(found).splitlines()) == 6
    STUDY.draw(found).savefig(tmp_path / "a.png")


@pytest.mark.parametrize("data", TASKS)
def test_each_flow_is_near_the_fitted_gaussian_before_its_training(data):
    x = load_dataset("digits").model_space("train", evaluation_key("train"))[:, :8]
    flow = linear_layers.flow_of(Kind(data, "dense", "identity"), 8, 0)
    flow.initialize(jnp.asarray(x))
    z = np.asarray(flow.transform.forward(jnp.asarray(x)))
    np.testing.assert_allclose(np.cov(z.T), np.eye(8), atol=0.1)


def test_of_several_rates_the_one_with_the_better_validation_is_taken(monkeypatch):
    best = {0.1: -3.0, 0.2: -2.0, 0.3: None}
    monkeypatch.setitem(TASKS, "digits", TASKS["digits"]._replace(rates=tuple(best)))

    class Measured:
        def cells(self, wanted):
            return {key: {"best": best[key[1]]} for key in wanted}

    chosen = settings(STUDY, {"layers": ("dense",), "starts": ("identity",)})
    found = STUDY.measure(chosen, Measured())
    assert found.best[Kind("digits", "dense", "identity")][0] == 0.2


def test_a_second_start_is_for_the_first_data_alone():
    class Asked:
        def cells(self, wanted):
            return {key: {"best": 0.0} for key in wanted}

    chosen = settings(STUDY, {"data": ("mnist", "digits"), "layers": ("none", "plu")})
    assert set(STUDY.measure(chosen, Asked()).best) == {
        Kind("mnist", "none", "identity"),
        Kind("mnist", "plu", "identity"),
        Kind("mnist", "plu", "orthogonal"),
        Kind("digits", "none", "identity"),
        Kind("digits", "plu", "identity"),
    }


def test_a_curve_has_points_within_epochs_where_these_are_few():
    cell = Cell("moons", "relative_muon", 0.03, 0, "own", 1.0, False)
    found = curve(**run_of(cell, 2), points=5, of_best=lambda flow: {"dim": flow.event_shape[0]})
    assert found["epochs"] == [0, 0.4, 0.8, 1.2, 1.6, 2] and found["steps"] == 100
    assert np.all(np.diff(found["seconds"]) > 0) and found["dim"] == 2
