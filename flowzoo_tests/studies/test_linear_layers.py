import numpy as np

from flowzoo.studies import linear_layers
from flowzoo.studies.study import Record, settings

STUDY = linear_layers.STUDY


def test_the_study(tmp_path):
    few = {"layers": ("none", "householder"), "rates": (1e-2,)}
    found = STUDY.measure(settings(STUDY, few, smoke=True), Record(None, STUDY.name))
    cells = {name: cell for (name, _), (_, cell) in found["best"].items()}
    assert cells["householder"]["parameters"] > cells["none"]["parameters"]
    assert all(np.isfinite(cell["nats"]) and cell["error"] < 1e-4 for cell in cells.values())
    assert len(cells["none"]["curve"]) == 10
    assert len(STUDY.table(found).splitlines()) == 4
    STUDY.draw(found).savefig(tmp_path / "a.png")


def test_of_several_rates_the_one_with_the_better_validation_is_taken():
    cells = {0.1: -3.0, 0.2: -2.0, 0.3: None}

    class Measured:
        def cells(self, wanted):
            return {key: {"curve": [[1.0, cells[key[2]]]]} for key in wanted}

    chosen = settings(STUDY, {"layers": ("dense",), "starts": ("identity",), "rates": tuple(cells)})
    assert STUDY.measure(chosen, Measured())["best"]["dense", "identity"][0] == 0.2
