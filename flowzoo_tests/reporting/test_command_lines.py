"""The command lines that read finished runs and packaged models: what they print and refuse."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from flowzoo.reporting import drawing
from flowzoo.reporting.results import identity, train_and_evaluate
from flowzoo.training.loop import load_data
from flowzoo.training.metrics import read_metrics
from flowzoo_tests.training.small import small_config

MOONS = "--pretrained=toy_moons"
CONDITIONAL = "--pretrained=digits_maf5_conditional"
HUGE = "--num_samples=1000000000000000"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    train_and_evaluate(small_config(num_epochs=1), workdir)
    return workdir


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """The folder `run` of a new current folder."""
    monkeypatch.chdir(tmp_path)
    return pathlib.Path(shutil.copytree(finished, "run"))


def test_results_say_that_they_are_of_data_without_the_noise_of_training():
    config = small_config(noise_std=0.25)
    dataset = load_data(config)
    note = identity(dataset, config)["data_note"]
    assert note == (
        "trained with Gaussian noise of standard deviation 0.25 in model space, tested without"
    )
    assert identity(dataset, small_config())["data_note"] is None


@pytest.mark.parametrize(
    ("program", "arguments", "sentence"),
    [
        ("sample", [], "Expected one of --workdir and --pretrained"),
        ("sample", ["--workdir="], "--workdir is empty"),
        ("sample", ["--workdir=nowhere"], "nowhere is not a workdir"),
        ("sample", [MOONS, "--workdir=run"], "Expected one of --workdir and --pretrained"),
        ("sample", [MOONS, "--out="], "--out is empty"),
        ("sample", [MOONS, "--num_samples=0"], "num_samples"),
        ("sample", [MOONS, "--num_samples=1e11"], "num_samples"),
        ("sample", [MOONS, HUGE], "1,000,000,000,000,000 samples take 8,000,000.0 GB"),
        ("sample", [MOONS, "--seed=-1"], "seed"),
        ("sample", [MOONS, "--label=1"], "unconditional; leave --label out"),
        ("sample", [MOONS, "--guidance=1"], "an autoregressive layer that sees labels"),
        ("sample", [CONDITIONAL], "pass --label=0 … 9"),
        ("sample", [CONDITIONAL, "--label=10"], "holds the label 10, expected labels 0 … 9"),
        ("evaluate", ["--pretrained=toy_moon"], "Did you mean 'toy_moons'"),
        ("diagnose", [MOONS, "--num_events=0"], "num_events"),
        ("report", ["run", "nope"], "No finished run in nope"),
        ("report", ["run", "--out="], "--out is empty"),
        ("report", ["--record"], "--record is missing"),
        ("report", ["--write"], "no records in results"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, run, program, arguments, sentence):
    ended = call(program, *arguments)
    assert ended.code == 1
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("Error: ") and sentence in line
    assert list(pathlib.Path().iterdir()) == [run]


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("config.json", b'{"a": ', "config.json is not valid JSON"),
        ("config.json", b"[1]", "holds no config but list"),
        ("config.json", b'{"model": "bert"}', "is not a config of this flowzoo: Unknown model"),
        ("config.json", b"\xff\xfe\x00", "config.json"),
        ("results.json", b"", "results.json is not valid JSON"),
        ("metrics.jsonl", b"garbage\n\xff\n", "metrics.jsonl is damaged in line 1"),
    ],
)
def test_damaged_files_of_a_run_are_named(call, run, file, text, sentence):
    (run / file).write_bytes(text)
    if file == "metrics.jsonl":
        with pytest.raises(ValueError, match=sentence):
            read_metrics(run)
        return
    ended = call(*(("report", "run") if file == "results.json" else ("evaluate", "--workdir=run")))
    assert ended.code == 1 and sentence in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_run_without_its_metrics_still_finishes(run):
    (run / "metrics.jsonl").write_bytes(b"garbage")  # a last line may be cut off
    results = train_and_evaluate(small_config(num_epochs=1), run)
    assert results["validation_nats"] is None and (run / "curve.png").exists()


def test_many_samples_are_drawn_a_part_at_a_time(call, run, monkeypatch):
    monkeypatch.setattr(drawing, "ROWS_AT_A_TIME", 1000)
    ended = call("sample", MOONS, "--num_samples=2500", "--out=new/points")
    assert "2500 samples of shape (2,) in new/points.npy" in ended.stdout
    x = np.load("new/points.npy")
    assert x.shape == (2500, 2) and len(np.unique(x, axis=0)) == 2500
    assert pathlib.Path("new/points.png").read_bytes().startswith(b"\x89PNG")
    call("sample", MOONS, "--num_samples=10", "--out=few")
    call("sample", MOONS, "--num_samples=10", "--seed=1", "--out=other")
    assert not np.array_equal(np.load("few.npy"), np.load("other.npy"))


def test_a_class_is_drawn_beside_the_data_of_a_run(call, run):
    assert call("sample", CONDITIONAL, "--label=3", "--num_samples=12", "--out=threes").code == 0
    assert np.load("threes.npy").dtype == np.uint8
    assert call("sample", "--workdir=run", "--num_samples=12").code == 0
    assert np.load("samples.npy").shape == (12, 64)


def test_evaluation_repeats_the_results(call, run):
    results = json.loads((run / "results.json").read_text())
    ended = call("evaluate", "--workdir=run")
    assert f"{results['log_likelihood_nats']:.3f}" in ended.stdout
    assert results["num_events"] == 250 and results["name"] == "digits/small"
    ended = call("diagnose", "--workdir=run", "--num_events=20")
    assert "condition number of" in ended.stdout and "Jacobian at 20 test events" in ended.stdout
