"""Splines whose knots depend on the other coordinates: numbers, zero patterns, refusals."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo import transforms as T
from flowzoo.numerics.rational_quadratic import MIN_WIDTH, BoxSpline
from flowzoo.numerics.smooth import MIN_SLOPE
from flowzoo_tests.perturb import perturbed

BOUND, BINS = 2.0, 4


def outputs(batch=200, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    x = 1.5 * rng.normal(size=(batch, dim))
    return x, 2 * rng.normal(size=(batch, 3 * BINS - 1, dim))


def softplus(a):
    return np.log1p(np.exp(a))


def one_spline(x, y):
    """Equations 4 and 5 of the paper for a single number, in float64, knots found by search."""
    if not -BOUND < x < BOUND:
        return x, 0.0
    sides = []
    for raw in (y[:BINS], y[BINS : 2 * BINS]):
        share = np.exp(raw) / np.exp(raw).sum()
        share = MIN_WIDTH + (1 - BINS * MIN_WIDTH) * share
        sides.append(-BOUND + 2 * BOUND * np.concatenate([[0], np.cumsum(share)]))
    inner = MIN_SLOPE + (1 - MIN_SLOPE) * softplus(y[2 * BINS :] + np.log(np.e - 1))
    knots, values, slopes = *sides, np.concatenate([[1], inner, [1]])
    k = min(np.searchsorted(knots, x, side="right"), BINS) - 1
    xi = (x - knots[k]) / (knots[k + 1] - knots[k])
    rise = values[k + 1] - values[k]
    s = rise / (knots[k + 1] - knots[k])
    below = s + (slopes[k + 1] + slopes[k] - 2 * s) * xi * (1 - xi)
    value = values[k] + rise * (s * xi**2 + slopes[k] * xi * (1 - xi)) / below
    above = s**2 * (slopes[k + 1] * xi**2 + 2 * s * xi * (1 - xi) + slopes[k] * (1 - xi) ** 2)
    return value, np.log(above / below**2)


def test_splines_are_those_of_the_paper(x64):
    x, y = outputs()
    value, log_slope = BoxSpline.from_outputs(jnp.asarray(y), BOUND).evaluate(jnp.asarray(x))
    expected = np.array(
        [[one_spline(x[i, j], y[i, :, j]) for j in range(x.shape[1])] for i in range(x.shape[0])]
    )
    np.testing.assert_allclose(value, expected[..., 0], atol=1e-12)
    np.testing.assert_allclose(log_slope, expected[..., 1], atol=1e-12)


def test_splines_are_those_of_nflows():
    torch = pytest.importorskip("torch")
    splines = pytest.importorskip("nflows.transforms.splines.rational_quadratic")
    x, y = outputs()
    widths, heights, slopes = (
        torch.from_numpy(np.moveaxis(part, -2, -1).copy())
        for part in np.split(y, (BINS, 2 * BINS), axis=-2)
    )
    # Theirs is MIN_SLOPE + softplus(raw): the raw number with which it has our slope.
    target = (1 - MIN_SLOPE) * softplus(slopes.numpy() + np.log(np.e - 1))
    raw = torch.from_numpy(np.log(np.expm1(target)))
    theirs, log_slope = splines.unconstrained_rational_quadratic_spline(
        torch.from_numpy(x), widths, heights, raw, tail_bound=BOUND
    )
    ours = BoxSpline.from_outputs(jnp.asarray(y, jnp.float32), BOUND)
    value, ours_log_slope = ours.evaluate(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(value, theirs.numpy(), atol=1e-5)
    np.testing.assert_allclose(ours_log_slope, log_slope.numpy(), atol=1e-4)


def test_outside_the_box_is_the_identity():
    _, y = outputs(batch=4, dim=2)
    spline = BoxSpline.from_outputs(jnp.asarray(y, jnp.float32), BOUND)
    for sign in (-1, 1):
        x = sign * jnp.array([BOUND, BOUND + 1e-6, 10.0, 1e30])[:, None] * jnp.ones(2)
        for method in (spline.evaluate, spline.invert):
            value, log_slope = method(x)
            np.testing.assert_array_equal(value, x)
            np.testing.assert_array_equal(log_slope, 0)


def test_many_bins_leave_room_for_all():
    spline = BoxSpline.from_outputs(50 * jnp.ones((3 * 2000 - 1, 1)), 1.0)
    assert float(spline.widths.min()) > 0
    np.testing.assert_allclose(spline.widths.sum(-2), 2, rtol=1e-4)


@pytest.mark.parametrize("map_kept", [False, True])
def test_couplings_see_what_they_keep(map_kept):
    mask = np.array([1, 0, 0, 1, 0])
    layer = T.SplineCoupling(
        mask, num_bins=4, hidden_sizes=(16, 16), residual=True, map_kept=map_kept, rngs=nnx.Rngs(0)
    )
    x = jax.random.normal(jax.random.key(0), (20, mask.size))
    z, log_det = jax.jit(layer.forward_and_log_det)(x)
    np.testing.assert_allclose(z, x, atol=1e-6)  # it starts at the identity
    np.testing.assert_allclose(log_det, 0, atol=1e-5)
    layer = perturbed(layer, 0.5)
    jacobian = jax.jit(lambda f, x: jax.vmap(jax.jacfwd(f.forward))(x))(layer, x)
    expected = np.eye(mask.size, dtype=bool) | ((mask == 0)[:, None] & (mask == 1))
    np.testing.assert_array_equal(np.any(jacobian != 0, 0), expected)
    z = jax.jit(layer.forward)(x)
    assert bool(np.any(z[:, mask == 1] != x[:, mask == 1])) == map_kept


def test_autoregressive_splines_see_what_is_before():
    layer = perturbed(T.SplineAutoregressive(4, hidden_sizes=(16,), rngs=nnx.Rngs(0)), 0.5)
    x = jax.random.normal(jax.random.key(0), (20, 4))
    jacobian = jax.jit(lambda f, x: jax.vmap(jax.jacfwd(f.forward))(x))(layer, x)
    np.testing.assert_array_equal(np.any(jacobian != 0, 0), np.tri(4, dtype=bool))


@pytest.mark.parametrize("layer", [T.SplineCoupling, T.SplineAutoregressive])
def test_bad_options_are_refused(layer):
    shape = [0, 1, 1] if layer is T.SplineCoupling else 3
    with pytest.raises(ValueError, match=f"{layer.__name__} got num_bins 1, expected at least 2"):
        layer(shape, num_bins=1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="got bound 0, expected a positive"):
        layer(shape, bound=0, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="expected equal ones"):
        layer(shape, hidden_sizes=(3, 4), residual=True, rngs=nnx.Rngs(0))
