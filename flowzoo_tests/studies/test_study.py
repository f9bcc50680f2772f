import functools
import json
import os

from matplotlib.figure import Figure
import pytest

from flowzoo.studies import study, three_couplings
from flowzoo.studies.study import Option, Record, Study, settings

STUDY = Study(
    name="example",
    options={
        "dims": Option((4, 8), "Sizes.", smoke=(2,), least=2),
        "kind": Option("round", "Which.", choices=("round", "square")),
        "rate": Option(0.5, "A rate.", least=0),
    },
    measure=lambda settings, record: None,
    table=lambda found: "",
    draw=lambda found: Figure(),
)


def test_settings_are_given_or_smoke_or_default():
    assert settings(STUDY).dims == (4, 8)
    assert settings(STUDY, smoke=True).dims == (2,) and settings(STUDY, smoke=True).rate == 0.5
    assert settings(STUDY, {"dims": [16]}, smoke=True).dims == (16,)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"dims": (1,)}, "--dims got 1, expected a number of at least 2."),
        ({"dims": ()}, "--dims got .*, expected one or more"),
        ({"kind": "oval"}, "--kind got 'oval', expected one of round, square."),
        ({"rate": float("nan")}, "--rate got nan, expected a number"),
        ({"size": 3}, "got the option 'size', expected one of dims, kind, rate"),
    ],
)
def test_bad_options_get_a_sentence(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        settings(STUDY, given)


def test_a_record_goes_on_where_it_stopped(tmp_path):
    path, measured = tmp_path / "example.json", []

    def measure(number):
        measured.append(number)
        return {"square": number**2, "bad": float("nan"), "parts": (1, 2)}

    for _ in range(2):
        record = Record(path, "example", "python -m flowzoo.studies.example")
        for number in (1.5, 2.0):
            cell = record.cell({"number": number}, lambda: measure(number))  # noqa: B023
            assert cell == {"square": number**2, "bad": None, "parts": [1, 2]}
    assert measured == [1.5, 2.0]
    content = json.loads(path.read_text())
    assert [cell["key"] for cell in content["cells"]] == [{"number": 1.5}, {"number": 2.0}]
    assert content["cells"][0]["command"] == "python -m flowzoo.studies.example"
    with pytest.raises(ValueError, match="does not hold the study 'other'"):
        Record(path, "other")
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match="not valid JSON"):
        Record(path, "example")


def test_two_processes_give_the_record_of_one(tmp_path):
    wanted = {}
    for toy in ("moons", "rings"):
        chosen = settings(three_couplings.STUDY, dict(toys=(toy,)))
        wanted[toy] = {"toy": toy}, functools.partial(three_couplings.reference, chosen)

    def measure(processes):
        path = tmp_path / f"{processes}.json"
        found = Record(path, "example", "a command", processes=processes).cells(wanted)
        cells = json.loads(path.read_text())["cells"]
        assert all(cell.pop("seconds") >= 0 for cell in cells)
        return found, sorted(cells, key=lambda cell: cell["key"]["toy"])

    assert measure(2) == measure(1)


def fail(word):
    raise ValueError(f"The cell got {word!r}, expected another.")


@pytest.mark.parametrize(
    ("measure", "error", "sentence"),
    [
        (functools.partial(fail, "bad"), ValueError, "The cell got 'bad', expected another."),
        (functools.partial(os._exit, 3), ChildProcessError, "ended without a result"),
    ],
)
def test_an_error_in_another_process_arrives(measure, error, sentence):
    with pytest.raises(error, match=sentence):
        list(study._side_by_side({"a": measure}, 1))


PROGRAM = """
import sys
from matplotlib.figure import Figure
from flowzoo.studies import study
def measure(settings, record):
    return [record.cell({"dim": d}, lambda: {"twice": 2 * d}) for d in settings.dims]
study.main(study.Study(
    "example",
    {"dims": study.Option((4, 8), "Sizes.", smoke=(2,), least=2)},
    measure,
    lambda found: "| twice |" + str([one["twice"] for one in found]),
    lambda found: Figure(),
))
"""


def test_the_command_line(call, tmp_path):
    program = tmp_path / "example.py"
    program.write_text(PROGRAM)
    first, again = call(str(program), "--smoke"), call(str(program), "--smoke")
    assert first.code == 0, first.stderr
    assert "| twice |[4]" in first.stdout and " s  dim 2" in first.stdout
    assert " s  dim 2" not in again.stdout and "| twice |[4]" in again.stdout
    assert {path.name for path in (tmp_path / "runs/studies").iterdir()} == {
        f"example-smoke.{kind}" for kind in ("json", "md", "png")
    }
    refused = call(str(program), "--dims=2,x", "--out=elsewhere")
    assert refused.code == 1 and not (tmp_path / "elsewhere").exists()
    assert refused.stderr == "Error: --dims got 'x', expected an integer, such as 4,8.\n"
