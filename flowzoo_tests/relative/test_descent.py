"""The descent benchmark in small: relative against ordinary full-batch gradient descent."""

import numpy as np
import pytest

from flowzoo.benchmarks import descent

TOLERANCE = 1e-3  # nats


@pytest.fixture(scope="module")
def descents():
    return descent.compare("moons", starts=10, points=1000, steps=200, rates=descent.RATES[2:])


def test_relative_ends_no_worse_from_every_start(descents):
    ordinary, relative = descents["ordinary"], descents["relative"]
    np.testing.assert_array_equal(ordinary.losses[:, 0], relative.losses[:, 0])
    assert np.all(relative.final <= ordinary.final + TOLERANCE)
    assert np.all(relative.final < relative.losses[:, 0] - 0.5)


def test_each_method_gets_its_best_rate(descents):
    for result in descents.values():
        assert result.mean_final[result.rate] == np.nanmin(list(result.mean_final.values()))
        assert result.final.mean() == pytest.approx(result.mean_final[result.rate])
        # At the edge of the grid the best rate might lie outside it.
        assert result.rate not in (descent.RATES[2], descent.RATES[-1])


def test_table_and_figure(descents, tmp_path):
    text = descent.table(descents)
    for result in descents.values():
        assert all(f"{value:.4f}" in text for value in result.final)
    path = tmp_path / "new" / "descent.png"
    descent.draw(descents, "moons", path)
    assert path.read_bytes().startswith(b"\x89PNG")
