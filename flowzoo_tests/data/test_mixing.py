"""Generators: a seed is one data set, and what comes out follows the published protocols."""

import numpy as np
import pytest
import scipy.stats

from flowzoo.data import mixing as generators

SMALL = {
    "segments": lambda seed: generators.segments(seed, dim=3, num_segments=4, per_segment=50),
    "tcl": lambda seed: generators.tcl(seed, dim=3, num_segments=4, per_segment=50),
    "gin": lambda seed: generators.gin(seed, dim=4, rows=200),
    "moebius": lambda seed: generators.moebius(seed, dim=3, rows=200),
    "linear": lambda seed: generators.linear(seed, dim=3, rows=200),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_is_one_data_set(name):
    first, again, other = SMALL[name](0), SMALL[name](0), SMALL[name](1)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.x, other.x)
    assert first.x.shape == first.sources.shape and first.x.dtype == np.float32
    assert (first.u is None) == (name in ("moebius", "linear"))


def test_segments_have_the_published_moments():
    data = generators.segments(3, num_segments=40, per_segment=1000)
    sources = data.sources.reshape(40, 1000, 5)
    mean, deviation = sources.mean(1), sources.std(1)
    assert -5.3 < mean.min() < -4 and 4 < mean.max() < 5.3
    assert 0.45 < deviation.min() < 0.7 and 2.8 < deviation.max() < 3.2
    np.testing.assert_array_equal(data.u, np.repeat(np.arange(40), 1000))
    scaled = (sources - mean[:, None]) / deviation[:, None]
    assert scipy.stats.kstest(scaled.ravel()[::7], scipy.stats.norm.cdf).pvalue > 1e-3
    centred = generators.segments(3, num_segments=5, centred=True).sources.reshape(5, 1000, 5)
    assert np.abs(centred.mean(1)).max() < 0.4


def test_segments_of_one_matrix_are_the_authors_stream():
    """The first numbers of their program's stream: scales, means, noise, then matrices."""
    data = generators.segments(7, same_matrix=True)
    rng = np.random.RandomState(7)
    scale, mean = rng.uniform(0.5, 3, (40, 5)), rng.uniform(-5, 5, (40, 5))
    noise = rng.randn(40_000, 5)
    expected = noise * np.repeat(scale, 1000, 0) + np.repeat(mean, 1000, 0)
    np.testing.assert_allclose(data.sources, expected, rtol=1e-4, atol=1e-5)
    conditions = []
    for _ in range(10_000):
        a = rng.uniform(-1, 1, (5, 5)).astype(np.float32)
        conditions.append(np.linalg.cond(a / np.sqrt((a**2).sum(0))))
    limit = np.percentile(conditions, 25)
    while True:
        a = (rng.uniform(0, 2, (5, 5)) - 1).astype(np.float32)
        a = a / np.sqrt((a**2).sum(0))
        if np.linalg.cond(a) <= limit:
            break
    x = expected
    for layer in range(3):
        x = x @ a
        x = np.tanh(x) + 0.1 * x if layer < 2 else x
    np.testing.assert_allclose(data.x, x, rtol=1e-3, atol=1e-4)


def test_matrices_have_unit_columns_and_the_asked_condition():
    rng = np.random.RandomState(0)
    for _ in range(5):
        a = generators.mixing_matrix(rng, 3, max_condition=2.0)
        np.testing.assert_allclose((a**2).sum(0), 1, rtol=1e-5)
        assert np.linalg.cond(a) <= 2
    assert generators.mixing_matrix(rng, 1).shape == (1, 1)


@pytest.mark.parametrize(("layers", "nonlinearity"), [(1, "xtanh"), (4, "leaky_relu")])
def test_layers_are_those_asked_for(layers, nonlinearity):
    data = generators.segments(
        0, dim=2, num_segments=3, per_segment=200, layers=layers, nonlinearity=nonlinearity
    )
    design = np.concatenate([data.sources, np.ones((600, 1))], axis=1)
    residual = data.x - design @ np.linalg.lstsq(design, data.x, rcond=None)[0]
    is_linear = np.abs(residual).max() < 1e-3
    assert is_linear == (layers == 1)


def test_incompressible_couplings_keep_the_volume():
    rng = np.random.RandomState(0)
    x, step = rng.randn(6), 1e-6 * np.eye(6)
    ahead, behind = (
        generators.incompressible(x + side * step, 4, np.random.RandomState(1)) for side in (1, -1)
    )
    jacobian = (ahead - behind) / 2e-6
    assert np.linalg.slogdet(jacobian)[1] == pytest.approx(0, abs=1e-7)
    assert np.linalg.cond(jacobian) > 1.5


def test_gin_is_two_informative_dimensions():
    data = generators.gin(0)
    assert data.x.shape == (10_000, 10) and set(data.u) == set(range(5))
    assert data.sources[:, 2:].std() == pytest.approx(0.01, rel=0.05)
    between = [data.sources[data.u == k].mean(0) for k in range(5)]
    assert np.ptp(between, axis=0)[:2].min() > 1 and np.ptp(between, axis=0)[2:].max() < 1e-2


def test_moebius_jacobian_is_that_of_the_map():
    data = generators.moebius(0, dim=2, rows=4000)
    # Nearest neighbours of one point: x − x_0 ≈ J (s − s_0).
    distance = np.linalg.norm(data.sources - data.sources[0], axis=1)
    near = np.argsort(distance)[1:6]
    step = (data.sources[near] - data.sources[0]) @ data.jacobian[0].T
    np.testing.assert_allclose(data.x[near] - data.x[0], step, atol=0.02)
    assert data.sources.min() >= -1 and data.sources.max() <= 1


def test_linear_is_its_matrix_times_the_sources():
    data = generators.linear(0, dim=4, rows=100)
    np.testing.assert_allclose(data.x, data.sources @ data.jacobian.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: generators.segments(0, dim=0), "dim 0, expected at least 1"),
        (lambda: generators.segments(0, layers=0), "layers 0, expected at least 1"),
        (lambda: generators.segments(0, slope=0.0), "slope is 0.0, expected a positive"),
        (lambda: generators.segments(0, family="cauchy"), "family is 'cauchy', expected one of"),
        (lambda: generators.segments(0, nonlinearity="relu"), "nonlinearity is 'relu', expected"),
        (lambda: generators.segments(0, max_condition=0.5), "condition number 0.5 was asked for"),
        (lambda: generators.tcl(0, slope=-1.0), "slope is -1.0, expected a positive"),
        (lambda: generators.gin(0, dim=3), "dim 3 and informative 2, expected an even dim"),
        (lambda: generators.moebius(0, dim=1), "dim 1, expected at least 2"),
        (lambda: generators.linear(0, family="uniform"), "family is 'uniform', expected one of"),
        (
            lambda: generators.mixing_matrix(np.random.RandomState(0), 2, percentile=0),
            r"percentile is 0, expected a number in \(0, 100\]",
        ),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_impossible_condition_number_ends_in_a_sentence(monkeypatch):
    monkeypatch.setattr(generators, "MOST_DRAWS", 50)
    with pytest.raises(ValueError, match="No 6 × 6 matrix of 50 drawn had a condition number"):
        generators.mixing_matrix(np.random.RandomState(0), 6, max_condition=1.0001)
