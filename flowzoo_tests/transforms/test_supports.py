"""Bijections from bounded domains: that they stay inside, and what their densities are."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo import bases
from flowzoo import transforms as T
from flowzoo_tests.perturb import perturbed

RECORDS = [
    "real",
    "positive",
    {"name": "above", "low": 2},
    {"name": "below", "high": -1},
    "unit",
    {"name": "interval", "low": -2, "high": 5},
    {"name": "simplex", "size": 3},
    {"name": "angle", "cut": 1.0},
]


def test_samples_keep_to_their_supports(x64):
    layer = T.Supports(RECORDS)
    assert layer.event_shape == (10,)
    x = np.asarray(layer.inverse(5 * jax.random.normal(jax.random.key(0), (2000, 10))))
    assert x[:, 0].min() < -5 and x[:, 0].max() > 5
    assert np.all(x[:, 1] > 0) and np.all(x[:, 2] > 2) and np.all(x[:, 3] < -1)
    assert np.all((x[:, 4] > 0) & (x[:, 4] < 1)) and np.all((x[:, 5] > -2) & (x[:, 5] < 5))
    assert np.all(x[:, 6:9] > 0) and np.all(x[:, 6:9].sum(-1) < 1)
    assert np.all((x[:, 9] >= -math.pi) & (x[:, 9] < math.pi))
    # Not some far smaller set: each reaches nearly to its ends.
    assert x[:, 3].min() < -10 and x[:, 5].min() < -1.9 and x[:, 5].max() > 4.9


def test_softplus_keeps_small_numbers():
    x = jnp.array([1e-30, 1e-8, 1.0, 1e4])
    z, log_det = jax.vmap(T.Softplus(()).forward_and_log_det)(x)
    np.testing.assert_allclose(z[:2], np.log([1e-30, 1e-8]), rtol=1e-6)
    np.testing.assert_allclose(log_det[:2], -np.log([1e-30, 1e-8]), rtol=1e-6)
    np.testing.assert_allclose(T.Softplus((4,)).inverse(z), x, rtol=1e-5)


def test_stick_breaking_starts_at_equal_parts(x64):
    x = T.StickBreaking(3).inverse(jnp.zeros(3))
    np.testing.assert_allclose(x, 0.25, atol=1e-12)


def test_the_density_on_the_simplex_integrates_to_one(x64):
    flow = flowzoo.Flow(bases.StandardNormal((2,)), T.StickBreaking(2))
    side = (np.arange(400) + 0.5) / 400
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    grid = grid[grid.sum(-1) < 1 - 1e-9]
    total = float(jnp.exp(flow.log_prob(grid)).sum()) / 400**2
    assert abs(total - 1) < 1e-3


def torus():
    chain = T.Chain(
        [
            T.CircularSplineCoupling([1, 0], num_bins=4, hidden_sizes=(8,), rngs=nnx.Rngs(0)),
            T.CircularSplineCoupling([0, 1], num_bins=4, hidden_sizes=(8,), rngs=nnx.Rngs(1)),
            T.CircularSpline((2,), num_bins=4),
        ]
    )
    return perturbed(flowzoo.Flow(bases.UniformCircle((2,)), chain), 0.3)


def test_a_flow_on_the_torus(x64):
    flow = torus()
    side = -math.pi + 2 * math.pi * np.arange(200) / 200
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    density = np.exp(flow.log_prob(grid))
    assert abs(density.mean() * (2 * math.pi) ** 2 - 1) < 1e-3
    assert density.std() > 0.1 * density.mean()
    # A full turn changes nothing, and the density does not jump at the seam.
    turned = grid + 2 * math.pi * np.array([3, -2])
    np.testing.assert_allclose(flow.log_prob(turned), np.log(density), atol=1e-9)
    grid[:2] = [[math.pi - 1e-9, 0.3], [-math.pi + 1e-9, 0.3]]
    np.testing.assert_allclose(*flow.log_prob(grid)[:2], atol=1e-7)


def test_samples_on_the_torus_are_wrapped():
    flow = torus()
    x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (500,))
    assert float(jnp.abs(x).max()) <= math.pi + 1e-6
    np.testing.assert_allclose(flow.log_prob(x), log_prob, atol=1e-3)


def test_wrong_supports_are_refused_in_sentences():
    for supports, sentence in (
        ([], "got no support"),
        (["real", "angel"], "Support 1 is 'angel'.*Did you mean 'angle'"),
        (["above"], "Support 0, 'above', got nothing, expected .'low'."),
        ([{"name": "unit", "low": 0}], "got .'low'., expected nothing"),
        ([{"name": "interval", "low": 1, "high": 0}], "the lower one first"),
    ):
        with pytest.raises(ValueError, match=sentence):
            T.Supports(supports)
