import numpy as np
import pytest

from flowzoo.benchmarks import linear_ica


def test_the_methods_find_the_sources_and_the_table_holds_them(monkeypatch, tmp_path, capsys):
    # picard is an extra: here its solution is a multiple of the same matrix, in another order.
    monkeypatch.setitem(
        linear_ica.METHODS, "picard", lambda x: -2 * linear_ica.flowzoo(x)[::-1].copy()
    )
    linear_ica.main([3], ["flowzoo", "fastica", "picard"], tmp_path, rows=2000, repeats=2)
    lines = (tmp_path / "linear_ica.md").read_text().splitlines()
    assert len(lines) == 5 and "| 3 | flowzoo, fit_linear |" in lines[2]
    for line in lines[2:]:
        assert float(line.split("|")[5]) < 0.1
    distances = [float(line.split("|")[6]) for line in lines[2:]]
    assert max(distances[0], distances[2]) < 1e-6 < distances[1] < 0.1
    assert lines[-1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [(dict(methods=["jade"]), "no method 'jade'"), (dict(repeats=0), "repeats 0")],
)
def test_bad_options_are_refused(options, words):
    kept = dict(dims=[2], methods=["flowzoo"], rows=100, repeats=1) | options
    with pytest.raises(ValueError, match=words):
        linear_ica.measure(**kept)


def test_a_library_that_has_not_converged_is_said(monkeypatch):
    from sklearn.decomposition import FastICA

    def few(x):
        return FastICA(whiten="unit-variance", random_state=0, max_iter=1).fit(x).components_

    monkeypatch.setitem(linear_ica.METHODS, "fastica", few)
    records = linear_ica.measure([4], ["fastica"], rows=500, repeats=1)
    assert "FastICA, not converged" in linear_ica.table(records)
    assert np.isfinite(records[0]["amari"])
