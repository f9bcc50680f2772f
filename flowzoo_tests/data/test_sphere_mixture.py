import numpy as np
import pytest

import flowzoo
from flowzoo.data.sphere_mixture import SphereMixture


def plane(density, size=801, reach=4.5):
    """The density on a grid of the plane, and the area of a cell."""
    side = np.linspace(-reach, reach, size)
    x = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    return np.exp(density.log_prob(x)), (side[1] - side[0]) ** 2


@pytest.mark.parametrize(("count", "scale"), [(1, 0.3), (3, 0.25), (16, 0.4)])
def test_density_and_entropy_against_quadrature(count, scale):
    density = SphereMixture.draw(np.random.default_rng(0), count, 2, scale)
    p, area = plane(density)
    np.testing.assert_allclose(p.sum() * area, 1, rtol=1e-6)
    exact = -(p * np.log(np.maximum(p, 1e-300))).sum() * area
    found = density.entropy()
    assert abs(found.nats - exact) <= 1.5 * found.two_standard_errors + 1e-9
    assert (found.two_standard_errors < 1e-12) == (count == 1)
    apart = np.log(count) + np.log(2 * np.pi * np.e * scale**2)
    assert found.nats <= apart + 1e-9 and (count < 16 or found.nats < apart - 0.5)


def test_far_components_lose_nothing_and_points_have_that_entropy():
    density = SphereMixture.draw(np.random.default_rng(1), 64, 16, 0.25)
    found = density.entropy()
    exact = np.log(64) + 8 * np.log(2 * np.pi * np.e * 0.25**2)
    np.testing.assert_allclose(found.nats, exact, atol=1e-3)
    log_p = density.log_prob(density.sample(np.random.default_rng(2), 20_000))
    assert abs(-log_p.mean() - found.nats) < 4 * log_p.std() / np.sqrt(20_000)


def test_the_dataset():
    dataset = flowzoo.load_dataset("toy/sphere_mixture", num_components=8, dim=5, scale=0.1)
    assert dataset.train.x.shape == (20_000, 5) and dataset.train.x.dtype == np.float32
    means = dataset.density.means
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), np.sqrt(5))
    distances = np.linalg.norm(dataset.test.x[:, None] - means, axis=2)
    np.testing.assert_allclose((distances.min(1) ** 2).mean(), 5 * 0.1**2, rtol=0.05)
    np.testing.assert_allclose(np.bincount(distances.argmin(1)) / len(distances), 1 / 8, atol=0.03)
    again = flowzoo.load_dataset("toy/sphere_mixture", num_components=8, dim=5, scale=0.1)
    np.testing.assert_array_equal(again.test.x, dataset.test.x)
    other = flowzoo.load_dataset("toy/sphere_mixture", num_components=8, dim=5, seed=1)
    assert not np.any(other.density.means == means)


def test_options_are_checked():
    with pytest.raises(ValueError, match="got the option 'components', expected some of seed, num"):
        flowzoo.load_dataset("toy/sphere_mixture", components=3)
    with pytest.raises(ValueError, match="num_components 0, dim 16"):
        flowzoo.load_dataset("toy/sphere_mixture", num_components=0)
    with pytest.raises(ValueError, match="'toy/moons' got the option 'dim', expected none"):
        flowzoo.load_dataset("toy/moons", dim=3)
