import numpy as np

from flowzoo import ica
from flowzoo.ica import nonlinear, starts
from flowzoo.studies import ivae_protocol
from flowzoo.studies.ivae_protocol import STUDY
from flowzoo.studies.study import Record, settings

# One start of one step in both stages, which is one program.
SMALL = dict(methods=("told",), segments=4, rows=50, starts=1, steps=1)


def test_seeds_share_their_programs_and_go_on_where_they_were_stopped(tmp_path, monkeypatch):
    path, scores = tmp_path / "record.json", []

    def measure(seeds):
        chosen = settings(STUDY, SMALL | dict(seeds=seeds), smoke=True)
        return STUDY.measure(chosen, Record(path, STUDY.name))["cells"]["told"]

    score = ica.mcc
    monkeypatch.setattr(ica, "mcc", lambda *args: scores.append(score(*args)) or scores[-1])
    before = starts._train._cache_size()
    first = measure(1)
    programs = starts._train._cache_size()
    both = measure(2)
    assert starts._train._cache_size() == programs == before + 1
    assert both[:1] == first and len(scores) == 2
    # The likelihoods are those of the starts of the last stage, of which there is one.
    assert both[1]["nats_of_starts"] == [both[1]["nats"]] and scores[0] != scores[1]
    table = STUDY.table({"cells": {"told": both}})
    assert f"| {sum(scores) / 2:.3f} ± " in table and f"| {min(scores):.3f} |" in table
    assert "| iFlow, published | 0.718 ± 0.067 |" in table
    assert STUDY.draw({"cells": {"told": both}}).axes


def test_the_data_are_those_of_the_published_protocol(monkeypatch):
    seen = {}

    def stop(x, u, **options):
        seen.update(x=x, u=u, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(ica, "fit", stop)
    try:
        ivae_protocol._measure("learned", 7, settings(STUDY))
    except KeyboardInterrupt:
        pass
    data = ica.generators.segments(7, same_matrix=True)
    assert (seen["x"] == data.x).all() and (seen["u"] == data.u).all()
    # Those of `ica.fit`, which is called without any.
    assert tuple(seen["stages"]) == nonlinear.STAGES and seen["between"] == nonlinear.SHAPES


def test_splines_placed_at_the_true_inverse_find_the_sources():
    chosen = settings(STUDY, SMALL | dict(methods=("placed",)), smoke=True)
    cell = ivae_protocol._measure("placed", 1, chosen)
    assert cell["mcc"] > 0.99 and np.isfinite(cell["nats"])
