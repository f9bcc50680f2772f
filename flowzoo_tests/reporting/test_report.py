import json

import pytest

from flowzoo import report

MAF = {"name": "maf", "num_layers": 5, "hidden_sizes": [512]}
TITLES = {"maf": "MAF (5)", "fully_connected": "Fully connected flow"}
FLOW = {"name": "fully_connected", "num_layers": 2}


@pytest.fixture
def write(tmp_path):
    def write_run(folder, dataset, model, nats, limit=0, conditional=False):
        results = {
            "dataset": dataset,
            "conditional": conditional,
            "log_likelihood_nats": nats,
            "two_standard_errors": 0.3,
            "num_parameters": 12345,
            "epochs": 40,
            "best_epoch": 12,
            "wall_seconds": 9000,
            "device": "CPU (x86_64, 2 cores)",
            "command": "python -m flowzoo.train --config=configs/x.py",
        }
        config = {"title": TITLES[model["name"]], "model": model, "dataset": {"limit": limit}}
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "results.json").write_text(json.dumps(results))
        (tmp_path / folder / "config.json").write_text(json.dumps(config))

    return write_run


def test_ours_stand_beside_the_published(write, tmp_path):
    write("a", "power", MAF, 0.2)
    write("b", "power", FLOW, 0.55)
    write("c", "bsds300", MAF, 150.0)
    tables = report.tables(report.collect([str(tmp_path)]))
    assert list(tables) == ["bsds300", "power"]
    rows = {row[0]: row for row in tables["power"]}
    assert rows["MAF (5)"][1:] == [
        "**0.20 ± 0.30**",
        "0.14 ± 0.01 (Papamakarios et al. 2017)",
        "12,345",
        "40 (best 12)",
        "2.5 h",
        "CPU (x86_64, 2 cores)",
        "`python -m flowzoo.train --config=configs/x.py`",
    ]
    ours = rows["Fully connected flow"]
    assert ours[2] == "0.065 ± 0.013 (Gresele et al. 2020)"
    # Published only: ours are not invented, and compared models stand once.
    assert rows["MADE MoG"][1:3] == [None, "0.40 ± 0.01 (Papamakarios et al. 2017)"]
    assert "relative gradient" not in rows
    order = [row[0] for row in tables["power"]]
    assert order.index("RQ-NSF (AR)") < order.index(ours[0]) < order.index("MADE MoG")


def test_a_part_of_the_data_and_a_condition_do_not_compare(write, tmp_path):
    write("a", "mnist", MAF, -99.0, limit=500)
    write("b", "mnist", MAF, -1302.0, conditional=True)
    tables = report.tables(report.collect([str(tmp_path)]))
    last = tables["mnist"][-1]
    assert last[1].endswith("first 500 rows of each split") and last[2] is None
    assert any(row[0] == "MAF (5)" and row[1] is None for row in tables["mnist"])
    (ours,) = [row for row in tables["mnist, conditional on labels"] if row[1]]
    assert ours[2] == "-1302.9 ± 1.7 (Papamakarios et al. 2017)"


def test_of_a_sweep_the_winner_is_taken(write, tmp_path):
    write("sweep/x=1", "power", FLOW, 0.1)
    write("sweep/x=2", "power", FLOW, 0.2)
    (tmp_path / "sweep" / "best.json").write_text('{"run": "x=2"}')
    (run,) = report.collect([str(tmp_path)])
    assert run.results["log_likelihood_nats"] == 0.2


def test_writes_markdown_and_png(write, tmp_path, capsys):
    write("a", "power", MAF, 0.2)
    report.flags.FLAGS(["report"])
    report.main(["report", str(tmp_path)])
    text = (tmp_path / "report.md").read_text()
    assert text in capsys.readouterr().out and text.count("\n| MAF (5) |") == 1
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileNotFoundError, match="No finished run in .*nowhere"):
        report.main(["report", str(tmp_path / "nowhere")])
