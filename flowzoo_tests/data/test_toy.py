import numpy as np
import pytest

from flowzoo.data import load_dataset
from flowzoo.data.toy import TOYS


def draw(name, n=4000):
    return TOYS[name](np.random.default_rng(0), n)


@pytest.mark.parametrize("name", TOYS)
def test_sizes_and_seed(name):
    dataset = load_dataset(f"toy/{name}")
    assert [len(dataset.split(s)) for s in ("train", "validation", "test")] == [5000, 500, 500]
    assert dataset.train.x.dtype == np.float32 and dataset.event_shape == (2,)
    assert not dataset.dequantize and dataset.train.labels is None
    np.testing.assert_array_equal(load_dataset(f"toy/{name}").test.x, dataset.test.x)
    assert not np.any(load_dataset(f"toy/{name}", seed=1).test.x == dataset.test.x)
    assert not np.any(dataset.validation.x == dataset.test.x)


def distances(x, centers):
    return np.linalg.norm(x[:, None] - np.asarray(centers), axis=-1)


@pytest.mark.parametrize(
    ("name", "centers", "scales", "weights"),
    [
        ("mixture_of_gaussians", [(0, 0), (5, 5), (5, -5)], [1, 0.5, 0.5], [1 / 3] * 3),
        (
            "eight_gaussians",
            [(2.8284 * np.cos(a), 2.8284 * np.sin(a)) for a in np.arange(8) * np.pi / 4],
            [0.35355] * 8,
            [1 / 8] * 8,
        ),
    ],
)
def test_gaussians_sit_at_their_centers(name, centers, scales, weights):
    d = distances(draw(name), centers)
    nearest = d.argmin(1)
    np.testing.assert_allclose(np.bincount(nearest) / len(d), weights, atol=0.02)
    for k, scale in enumerate(scales):
        np.testing.assert_allclose(np.mean(d[nearest == k, k] ** 2) / 2, scale**2, rtol=0.15)


def test_smile_smiles():
    x = draw("smile")
    face = distances(x, [(-2, 3.46), (2, 3.46), (0, 0)]) < 1.5
    np.testing.assert_allclose(face.mean(0), 1 / 6, atol=0.02)
    mouth = (np.abs(np.linalg.norm(x, axis=1) - 4) < 1.5) & (x[:, 1] < -1)
    np.testing.assert_allclose(mouth.mean(), 1 / 2, atol=0.02)
    corners = mouth & (np.abs(x[:, 0]) > 2.5)
    assert x[corners, 1].mean() > x[mouth & ~corners, 1].mean() + 0.5


def test_moons_lie_on_two_half_circles():
    x = draw("moons")
    upper = np.abs(np.linalg.norm(x, axis=1) - 1) + 9 * (x[:, 1] < -0.3)
    lower = np.abs(np.linalg.norm(x - [1, 0.5], axis=1) - 1) + 9 * (x[:, 1] > 0.8)
    assert np.minimum(upper, lower).max() < 0.25
    assert abs(np.mean(upper < lower) - 0.5) < 0.03


def test_sine_has_gaussian_noise_about_the_curve():
    x = draw("sine")
    residual = x[:, 1] - np.sin(3 * x[:, 0])
    np.testing.assert_allclose([residual.mean(), residual.std()], [0, 0.25], atol=0.02)
    np.testing.assert_allclose([x[:, 0].min(), x[:, 0].max()], [-2, 2], atol=0.01)


def test_two_spirals_turn_one_and_a_half_times():
    x = draw("two_spirals")
    radius = np.linalg.norm(x, axis=1)
    assert 3 < radius.max() < 3.8
    angle = np.linspace(0, 3 * np.pi, 500)
    arm = np.stack([-np.cos(angle), np.sin(angle)], axis=1) * angle[:, None] / 3
    to_arms = np.stack([distances(x, arm).min(1), distances(x, -arm).min(1)])
    # The arms are π/3 apart.
    assert to_arms.min(0).mean() < 0.15
    np.testing.assert_allclose(np.bincount(to_arms.argmin(0)) / len(x), 0.5, atol=0.03)
    np.testing.assert_allclose(x.mean(0), 0, atol=0.1)


def test_checkerboard_fills_the_dark_squares_only():
    squares = np.floor(draw("checkerboard") / 2).astype(int)
    assert squares.min() == -2 and squares.max() == 1
    assert np.all(squares.sum(1) % 2 == squares[0].sum() % 2)
    _, counts = np.unique(squares, axis=0, return_counts=True)
    assert len(counts) == 8
    np.testing.assert_allclose(counts / counts.sum(), 1 / 8, atol=0.02)


def test_rings_have_four_radii():
    radius = np.linalg.norm(draw("rings"), axis=1)
    nearest = np.clip(np.round(radius / 0.75), 1, 4)
    np.testing.assert_allclose(np.bincount(nearest.astype(int))[1:] / len(radius), 0.25, atol=0.02)
    np.testing.assert_allclose((radius - 0.75 * nearest).std(), 0.08, atol=0.01)
