import json

import numpy as np

from flowzoo.benchmarks import optimizer_cost


def test_each_method_is_timed_and_the_table_has_its_ratio(tmp_path, capsys):
    optimizer_cost.main([4], [10], [2], tmp_path, num_layers=2, repeats=2)
    (record,) = json.loads((tmp_path / "optimizer_cost.json").read_text())
    names = ["adam", "relative_adam", "relative_muon", "relative_muon_2"]
    assert list(record["seconds"]) == names
    assert all(np.all(np.array(seconds) > 0) for seconds in record["seconds"].values())
    assert "| 4 | 10 |" in (tmp_path / "optimizer_cost.md").read_text()
    assert "relative_muon_2, ratio" in capsys.readouterr().out


def test_ratios_are_to_adam():
    seconds = {"adam": [0.001, 0.002], "relative_muon": [0.002, 0.004]}
    text = optimizer_cost.table([{"dim": 8, "batch_size": 5, "num_layers": 2, "seconds": seconds}])
    assert "| 8 | 5 | 1.50 | 2.00 (2.00 … 2.00) |" in text
