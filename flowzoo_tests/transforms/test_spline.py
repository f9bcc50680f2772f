"""Elementwise splines: their tails, and their bins for batches and single events."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.numerics import rational_quadratic
from flowzoo.numerics.rational_quadratic import Bin
from flowzoo.transforms import RationalQuadraticSpline
from flowzoo.transforms.elementwise import spline as splines


@pytest.mark.parametrize("seed", range(5))
def test_steep_splines_come_back_from_far_out(seed):
    rng = np.random.default_rng(seed)
    spline = RationalQuadraticSpline((20,), num_bins=8)
    for parameter, scale in ((spline.widths, 3), (spline.heights, 3), (spline.slopes, 8)):
        parameter[...] = jnp.asarray(scale * rng.normal(size=parameter.shape), jnp.float32)
    x = jnp.asarray(rng.choice([-1, 1], (50, 20)) * rng.uniform(6.1, 40, (50, 20)), jnp.float32)
    slope = spline.knots(jnp.float32).slope
    slope = jnp.where(x < 0, slope[:, 0], slope[:, -1])
    z, log_det = spline.forward_and_log_det(x)
    back, inverse_log_det = spline.inverse_and_log_det(z)
    # As near as the rounding of z allows.
    error = jnp.abs(back - x) - 1e-6 * jnp.abs(z) / slope
    assert float((error / jnp.abs(x)).max()) < 1e-6
    for found in (log_det, -inverse_log_det):
        np.testing.assert_allclose(found, jnp.log(slope).sum(-1), rtol=1e-5, atol=1e-4)


def test_gradients_of_the_inverse_are_those_of_the_tail(x64):
    spline = RationalQuadraticSpline((1,), num_bins=4)
    spline = jax.tree.map(lambda a: a.astype(float), spline)
    spline.slopes[...] = jnp.array([[2.0, 0.3, -1.0, 0.5, -3.0]])
    slope = spline.knots(float).slope[0]
    for z, end in ((-30.0, slope[0]), (30.0, slope[-1])):
        gradient = jax.grad(lambda z: spline.inverse(z[None])[0])(jnp.asarray(z))
        np.testing.assert_allclose(gradient, 1 / end, rtol=1e-12)


def test_the_slopes_of_the_tails_are_trained():
    """As those at all knots: tails of slope 1, as some papers have them, would be another model."""
    spline = RationalQuadraticSpline((1,), num_bins=4, bound=2.0)
    x = jnp.array([[-50.0], [50.0]])
    before = spline.forward(x)
    spline.slopes[...] += 1.0
    slope = spline.knots(jnp.float32).slope[0]
    assert float(slope[0]) > 1.2 < float(slope[-1])
    expected = before + jnp.array([[-48.0], [48.0]]) * (jnp.stack([slope[:1], slope[-1:]]) - 1)
    np.testing.assert_allclose(spline.forward(x), expected, rtol=1e-5)


def test_bins_are_selected_as_they_are_gathered(x64):
    """Values, derivatives forwards and backwards, at the edges too."""
    rng = np.random.default_rng(0)
    dim, num_bins, size = 3, 5, 40
    edges = jnp.asarray(np.sort(rng.normal(size=(dim, num_bins - 1)), axis=1))
    bins, directions = (
        Bin(*(jnp.asarray(rng.normal(size=(dim, num_bins))) for _ in Bin._fields)) for _ in range(2)
    )
    at = jnp.concatenate([edges, jnp.asarray(3 * rng.normal(size=(dim, size)))], 1)
    weights = jnp.asarray(rng.normal(size=(len(bins), *at.shape)))

    def results(lookup):
        def of_bins(bins):
            return lookup(bins, edges, at)

        def weighted(bins):
            return (jnp.stack(of_bins(bins)) * weights).sum()

        forwards = jax.jvp(of_bins, (bins,), (directions,))
        return (
            forwards,
            jax.grad(weighted)(bins),
            jax.grad(lambda w: weighted(bins._replace(width=w)))(bins.width),
        )

    def one_by_one(bins, edges, at):
        rows = jax.tree.map(jnp.transpose, bins)
        return jax.vmap(functools.partial(splines._selected_for_one, rows, edges.T), 1, 1)(at)

    gathered = jax.tree.leaves(results(splines._gathered))
    for lookup in (splines._selected, one_by_one):
        for a, b in zip(jax.tree.leaves(results(lookup)), gathered, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def test_the_derivatives_of_a_bin_are_those_of_its_formula(x64):
    """First and second ones, of value and slope, at both ends too."""
    positive = np.random.default_rng(0).uniform(0.2, 3, (len(Bin._fields), 6))
    of = Bin(*jnp.asarray(positive))
    x = of.x + of.width * jnp.linspace(0, 1, 6)

    def derivatives(evaluate):
        first = jax.jacfwd(lambda x, of: jnp.stack(evaluate(x, of)), (0, 1))
        return first(x, of), jax.jacrev(first, (0, 1))(x, of)

    assert_close(
        derivatives(rational_quadratic.evaluate_bin),
        derivatives(rational_quadratic._evaluate_bin),
    )


@pytest.mark.parametrize("method", ["forward_and_log_det", "inverse_and_log_det"])
def test_events_by_vmap_have_the_values_and_gradients_of_a_batch(method, x64):
    """Also where each event has a spline of its own, and second derivatives."""
    num_events, dim = 4, 3
    rng = np.random.default_rng(0)
    x = jnp.asarray(4 * rng.normal(size=(num_events, dim)))
    graph, state = nnx.split(RationalQuadraticSpline((dim,), num_bins=3, bound=3.0))
    state = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), state)

    def value(state, x):
        b, log_det = getattr(nnx.merge(graph, state), method)(x)
        return jnp.sin(b).sum(-1) + log_det**2

    def gradients(value):
        return jax.jit(jax.value_and_grad(lambda *args: value(*args).sum(), (0, 1)))

    expected = gradients(value)(state, x)
    assert_close(gradients(jax.vmap(value, (None, 0)))(state, x), expected)

    own = jax.tree.map(lambda a: jnp.stack([a] * num_events), state)
    values, (of_states, of_x) = jax.jit(jax.vmap(jax.value_and_grad(value, (0, 1))))(own, x)
    summed = jax.tree.map(lambda a: a.sum(0), of_states)
    assert_close((values.sum(), (summed, of_x)), expected)
    forwards = jax.jit(jax.vmap(jax.jacfwd(value, (0, 1)), (None, 0)))(state, x)
    assert_close(forwards, (of_states, of_x))

    events = jnp.arange(num_events)
    # The Hessian of a sum over events has that of each event on its diagonal.
    together = jax.jit(jax.hessian(lambda x: value(state, x).sum()))(x)
    each = jax.jit(jax.vmap(jax.hessian(value, 1), (None, 0)))(state, x)
    assert_close(each, together[events, :, events])


def assert_close(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)
