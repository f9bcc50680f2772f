import dataclasses

import pytest

from flowzoo.benchmarks.stand_ins import MAKERS
from flowzoo.data.published_steps import tenths
from flowzoo.data.tabular import TABULAR_SETS, load_tabular, prepare_tabular


@pytest.mark.parametrize("name", MAKERS)
def test_stand_ins_are_prepared_as_the_originals(name, tmp_path, monkeypatch):
    sizes = {split: stop - start for split, (start, stop) in tenths(3000).items()}
    spec = dataclasses.replace(TABULAR_SETS[name], sizes=sizes)
    monkeypatch.setitem(TABULAR_SETS, name, spec)
    MAKERS[name](tmp_path)
    prepare_tabular(name, data_dir=tmp_path / "to", source=tmp_path)
    dataset = load_tabular(name, data_dir=tmp_path / "to")
    assert dataset.event_shape == (spec.dim,) and len(dataset.train) == sizes["train"]
