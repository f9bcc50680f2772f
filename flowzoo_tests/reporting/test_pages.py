import pathlib

import pytest

from flowzoo.pretrained import list_pretrained, show_pretrained
from flowzoo.reporting import pages
from flowzoo.reporting.published import comparison
from flowzoo.reporting.records import read_records

ROOT = pathlib.Path(__file__).parents[2]


def test_pages_say_what_the_records_say():
    for path, text in pages.made(ROOT).items():
        assert path.read_text("utf-8") == text, (
            f"{path.name} differs from results/: python -m flowzoo.report --write"
        )


def test_cards_say_what_the_records_say():
    records = {record.name: record for record in read_records(ROOT / "results")}
    for entry in list_pretrained():
        card = show_pretrained(entry.name)
        record = records[card["run"]["name"]]
        assert entry.name == record.name.replace("/", "_").replace("-", "_")
        assert card["run"]["title"] == record.title
        for key in ("log_likelihood_nats", "two_standard_errors", "num_events"):
            # The export measures on the weights that it stores, which may be of half precision.
            assert card["metrics"][key] == pytest.approx(getattr(record, key), rel=2e-5)
        assert card["published"] == comparison(
            record.name, record.dataset, conditional=record.conditional
        )


def test_data_that_are_not_the_published_ones_are_marked_everywhere():
    note = "drawn anew"
    for record in read_records(ROOT / "results"):
        assert (note in (record.data_note or "")) == (record.dataset == "bsds300")
    for text in pages.made(ROOT).values():
        assert note in text
    for entry in list_pretrained():
        if entry.dataset == "bsds300":
            assert note in show_pretrained(entry.name)["data"]["note"]


def test_pages_without_marks_or_records_are_refused(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(FileNotFoundError, match="no records"):
        pages.write(tmp_path)
    for folder in ("results/toy", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    record = (ROOT / "results/toy/moons.json").read_text()
    (tmp_path / "results/toy/moons.json").write_text(record)
    (tmp_path / "docs/results.md").write_text("# Results\n")
    with pytest.raises(ValueError, match="put the marks back"):
        pages.write(tmp_path)
