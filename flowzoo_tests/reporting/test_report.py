import dataclasses
import json

import pytest

from flowzoo import report
from flowzoo.reporting import results
from flowzoo.reporting.published import published
from flowzoo.reporting.records import Record, collect, from_json, read_records, write_record
from flowzoo.reporting.report_tables import readme_table, tables

TITLES = {
    "maf5": "MAF (5)",
    "paper": "Fully connected flow",
    "learned": "Fully connected flow, learned maps",
}


@pytest.fixture
def write(tmp_path):
    def write_run(folder, dataset, entry, nats, limit=0, conditional=False):
        results = {
            "name": f"{dataset}/{entry}{'-conditional' * conditional}-short",
            "title": TITLES[entry],
            "dataset": dataset,
            "conditional": conditional,
            "limit": limit,
            "log_likelihood_nats": nats,
            "two_standard_errors": 0.3,
            "num_parameters": 12345,
            "epochs": 40,
            "best_epoch": 12,
            "wall_seconds": 9000,
            "device": "CPU (x86_64, 2 cores)",
            "command": "python -m flowzoo.train --config=configs/x.py",
        }
        config = {"dataset": {"limit": limit, "data_dir": "/home/me"}}
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "results.json").write_text(json.dumps(results))
        (tmp_path / folder / "config.json").write_text(json.dumps(config))

    return write_run


def test_ours_stand_beside_the_published(write, tmp_path):
    write("a", "power", "maf5", 0.2)
    write("b", "power", "paper", 0.55)
    write("deep/er/c", "bsds300", "maf5", 150.0)
    found = tables(collect([str(tmp_path)]))
    assert list(found) == ["bsds300", "power"]
    rows = {row[0]: row for row in found["power"]}
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
    assert "relative gradient" not in rows and "RQ-NSF (C)" in rows
    order = [row[0] for row in found["power"]]
    assert order.index("RQ-NSF (AR)") < order.index(ours[0]) < order.index("MADE MoG")


def test_the_time_of_cores_is_given_where_they_did_the_work(write, tmp_path):
    write("a", "power", "maf5", 0.2)
    for device, time in (("CPU (x86_64, 1 core)", "2.5 h (25 min of cores)"), ("H100", "2.5 h")):
        (run,) = collect([str(tmp_path)])
        run = dataclasses.replace(run, processor_seconds=1500.0, device=device)
        assert [row[5] for row in tables([run])["power"] if row[1]] == [time]


def test_both_sources_of_cifar10_stand_beside_the_published_figures():
    assert published("cifar10_png") == published("cifar10")
    figures = {row.model: row.nats for row in published("cifar10")}
    assert (figures["Gaussian"], figures["MAF (10)"], len(figures)) == (2367, 3049, 8)
    assert published("cifar10_png", conditional=True)[0].nats == 2030


def test_a_part_of_the_data_and_a_condition_do_not_compare(write, tmp_path):
    write("a", "mnist", "maf5", -99.0, limit=500)
    write("b", "mnist", "maf5", -1302.0, conditional=True)
    found = tables(collect([str(tmp_path)]))
    last = found["mnist"][-1]
    assert last[1].endswith("first 500 rows of each split") and last[2] is None
    assert any(row[0] == "MAF (5)" and row[1] is None for row in found["mnist"])
    (ours,) = [row for row in found["mnist, conditional on labels"] if row[1]]
    assert ours[2] == "-1302.9 ± 1.7 (Papamakarios et al. 2017)"


def test_of_a_sweep_the_winner_is_taken(write, tmp_path):
    write("sweep/x=1", "power", "paper", 0.1)
    write("sweep/x=2", "power", "paper", 0.2)
    (tmp_path / "sweep" / "best.json").write_text('{"run": "x=2"}')
    (run,) = collect([str(tmp_path)])
    assert run.log_likelihood_nats == 0.2


def test_writes_markdown_and_png(write, tmp_path, capsys):
    write("a", "power", "maf5", 0.2)
    report.flags.FLAGS(["report"])
    report.main(["report", str(tmp_path)])
    text = (tmp_path / "report.md").read_text()
    assert text in capsys.readouterr().out and text.count("\n| MAF (5) |") == 1
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileNotFoundError, match="No finished run in .*nowhere"):
        report.main(["report", str(tmp_path / "nowhere")])


def test_the_published_figure_of_another_architecture_stands_beside_none(write, tmp_path):
    write("a", "mnist", "learned", -995.0)
    rows = {row[0]: row for row in tables(collect([tmp_path]))["mnist"]}
    assert rows[TITLES["learned"]][2] is None
    assert rows["relative gradient"][1:3] == [None, "-1375.2 ± 1.4 (Gresele et al. 2020)"]


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("results.json", "", "results.json is not valid JSON"),
        ("results.json", "[1, 2]", "holds no results, expected a JSON object"),
        ("results.json", '{"name": "x"}', "holds title None, expected a text"),
        ("results.json", None, "No finished run in"),
        ("config.json", "{", "config.json is not valid JSON"),
    ],
)
def test_damaged_results_are_refused_in_sentences(write, tmp_path, file, text, sentence):
    write("a", "power", "maf5", 0.2)
    if text is None:
        (tmp_path / "a" / file).unlink()
    else:
        (tmp_path / "a" / file).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        collect([tmp_path])


def test_a_missing_folder_beside_a_good_one_is_named(write, tmp_path):
    write("good", "power", "maf5", 0.2)
    with pytest.raises(FileNotFoundError, match="No finished run in .*nope"):
        collect([tmp_path / "good", tmp_path / "nope"])


def test_a_run_becomes_a_record_and_the_record_a_row(write, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("runs/a", "power", "maf5", 0.2)
    report.flags.FLAGS(["report", "--record"])
    try:
        report.main(["report", "runs"])
    finally:
        report.flags.FLAGS(["report", "--norecord"])
    assert "results/power/maf5-short.json written" in capsys.readouterr().out
    (tmp_path / "results/studies").mkdir()
    (tmp_path / "results/studies/padding.json").write_text('{"study": "padding", "cells": []}')
    (record,) = read_records(tmp_path / "results")
    assert record.config == {"dataset": {"limit": 0, "data_dir": ""}} and record.seed is None
    assert tables([record]) == tables(collect(["runs"]))
    (tmp_path / "results/power/maf5-short.json").rename(tmp_path / "results/power/other.json")
    with pytest.raises(ValueError, match="other.json is the record of power/maf5-short"):
        read_records(tmp_path / "results")


def test_a_record_has_the_learning_curve_of_the_run(write, tmp_path):
    write("a", "power", "maf5", 0.2)
    lines = [
        dict(step=10 * epoch, epoch=epoch, seconds=1.0, best_validation_nats=0.0)
        | dict(train_nats=-1 / epoch, validation_nats=-2 / epoch)
        for epoch in range(1, 251)
    ]
    (tmp_path / "a/metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (run,) = collect([tmp_path])
    epochs, train, validation = run.learning_curve.values()
    assert epochs[:2] == [1, 4] and epochs[-1] == 250 and len(epochs) <= 100
    assert validation[1] == -0.5 and train[1] == -0.25
    assert read_records(tmp_path / "results") == []
    write_record(run, tmp_path / "results")
    assert read_records(tmp_path / "results")[0].learning_curve == run.learning_curve


def test_the_readme_takes_the_better_of_the_full_and_the_short_run(tmp_path):
    common = dict(title="MAF (5)", dataset="mnist", two_standard_errors=1.0)
    records = [
        Record(name="mnist/maf5", log_likelihood_nats=-1310.0, **common),
        Record(name="mnist/maf5-short", log_likelihood_nats=-1300.0, **common),
        Record(name="mnist/maf5-26336_parameters", log_likelihood_nats=-1200.0, **common),
        Record(name="mnist/maf5-conditional", log_likelihood_nats=-1100.0, **common),
    ]
    assert "| MAF (5) |  | 155.7 | -1300.0 | -1300.5 |" in readme_table(records)
    for record in records:
        path = write_record(record, tmp_path)
        assert from_json(json.loads(path.read_text()), "here") == record


@pytest.mark.parametrize(
    "started, command",
    [
        (["-m", "flowzoo.train", "--workdir=/a"], "python -m flowzoo.train"),
        (["-u", "-m", "flowzoo.train", "--config=a b"], "python -m flowzoo.train '--config=a b'"),
        (["-m", "pytest"], None),
        (["-c", "import flowzoo"], None),
        (["notebook.py"], None),
    ],
)
def test_the_command_of_a_run_is_how_it_is_repeated(started, command, monkeypatch):
    monkeypatch.setattr("sys.orig_argv", ["/usr/bin/python3", *started])
    assert results.command() == command
