"""The cells of a study as the repository holds them: tables and pictures without a training."""

import pathlib
import shutil

import pytest

from flowzoo.studies import study
from flowzoo.studies.study import Record, Study, settings

RESULTS = pathlib.Path(__file__).parents[2] / "results/studies"


def found_in_repository(whole: Study, monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path):
    """What `whole.measure` finds by default; that its record has a cell for each is tested, too."""

    def measured(measure):
        raise AssertionError("A cell of the default settings is not in the repository.")

    monkeypatch.setattr(study, "_measured", measured)
    path = shutil.copy(RESULTS / f"{whole.name}.json", folder)
    return whole.measure(settings(whole), Record(path, whole.name))
