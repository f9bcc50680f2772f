"""Metrics: invariant where they say so, and at their known values."""

import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo import ica


def sources(rows=500, dim=4):
    return np.random.default_rng(0).laplace(size=(rows, dim))


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_mcc_is_one_up_to_order_sign_scale_and_shift(method):
    s = sources()
    found = s[:, [2, 0, 3, 1]] * [-3.0, 0.1, 7.0, -1.0] + [5.0, 0.0, -2.0, 1.0]
    assert ica.mcc(s, found, method) == pytest.approx(1, abs=1e-12)
    order, correlation = ica.match(s, found, method)
    np.testing.assert_array_equal(order, [1, 3, 0, 2])
    np.testing.assert_allclose(correlation, [1, -1, -1, 1])


def test_spearman_is_blind_to_increasing_functions_and_pearson_is_not():
    s = sources()
    found = np.sinh(3 * s)
    assert ica.mcc(s, found, "spearman") == pytest.approx(1, abs=1e-12)
    assert ica.mcc(s, found) < 0.9


def test_mcc_assigns_and_does_not_take_the_largest_of_each():
    """Both found ones are most like the first source; only one of them can be it."""
    rng = np.random.default_rng(1)
    s = rng.normal(size=(100_000, 2))
    found = np.stack([s[:, 0], s[:, 0] + 0.5 * s[:, 1]], axis=1)
    assert ica.mcc(s, found) == pytest.approx((1 + 0.5 / np.sqrt(1.25)) / 2, abs=0.01)


def test_mcc_of_some_sources_leaves_the_other_found_ones_over():
    s = sources()
    assert ica.mcc(s[:, [3, 1]], -2 * s) == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(ica.match(s[:, [3, 1]], -2 * s).order, [3, 1])


def test_mcc_of_unrelated_sources_is_small():
    rng = np.random.default_rng(2)
    assert ica.mcc(rng.normal(size=(20_000, 5)), rng.normal(size=(20_000, 5))) < 0.02


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (np.zeros((500, 3)), r"found ones of shape \(500, 3\), expected \[N, d\] and \[N, D\]"),
        (np.zeros((499, 4)), r"found ones of shape \(499, 4\), expected \[N, d\] and \[N, D\]"),
        (np.ones((500, 4)), "found whose column 0 is constant"),
        (np.full((500, 4), np.nan), "found with NaN or infinity"),
    ],
)
def test_mcc_refuses(found, message):
    with pytest.raises(ValueError, match=message):
        ica.mcc(sources(), found)
    with pytest.raises(ValueError, match="method is 'kendall', expected one of pearson, spearman"):
        ica.mcc(sources(), sources(), "kendall")


def test_amari_is_zero_for_a_scaled_permutation_and_at_most_one():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, 5))
    unmixing = np.linalg.inv(mixing)[[3, 1, 0, 4, 2]] * rng.normal(size=(5, 1))
    assert ica.amari(unmixing, mixing) == pytest.approx(0, abs=1e-12)
    assert ica.amari(np.ones((5, 5)), np.eye(5)) == pytest.approx(1)
    p = np.array([[2.0, 1.0], [0.5, -1.0]])
    # Rows: 1/2 and 1/2 above one; columns: 1/4 and 1.
    assert ica.amari(p, np.eye(2)) == pytest.approx((0.5 + 0.5 + 0.25 + 1) / 4)


def test_amari_refuses():
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 2\), expected two square"):
        ica.amari(np.ones((2, 3)), np.eye(2))
    with pytest.raises(ValueError, match="a row or column of zeros"):
        ica.amari(np.diag([1.0, 0.0]), np.eye(2))


def test_c_ima_is_zero_for_a_conformal_map_and_known_for_a_shear(x64):
    data = ica.generators.moebius(0, dim=3, rows=50)
    np.testing.assert_allclose(ica.c_ima(data.jacobian.astype(np.float64)), 0, atol=1e-5)
    shear = jnp.array([[1.0, 2.0], [0.0, 1.0]])
    np.testing.assert_allclose(ica.c_ima(shear), 0.5 * np.log(5), rtol=1e-12)
    # Unchanged when a source is stretched, or the picture turned.
    turn = jnp.array([[0.6, -0.8], [0.8, 0.6]])
    changed = turn @ shear @ jnp.diag(jnp.array([3.0, -0.2]))
    np.testing.assert_allclose(ica.c_ima(changed), 0.5 * np.log(5), rtol=1e-12)
