"""An augmented flow's log_prob, bound and estimate against quadrature over the noise."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo import bases
from flowzoo.flow import Flow
from flowzoo.transforms import (
    AffineCoupling,
    Chain,
    Dense,
    GaussianPadding,
    Reverse,
    SmoothLeakyReLU,
    importance_weighted_log_prob,
    with_padding_key,
)
from flowzoo_tests.perturb import perturbed

NOISE = 1.5
GRID = np.linspace(-12, 12, 2001)


@pytest.fixture(scope="module")
def flows():
    """A flow on one padded by one, and the flow on the plane inside it."""
    rngs = nnx.Rngs(0)
    inner = [
        Dense(2, rngs=rngs),
        SmoothLeakyReLU((2,), alpha=0.5),
        AffineCoupling([1, 0], hidden_sizes=(8,), rngs=rngs),
        Reverse(2),
        AffineCoupling([1, 0], hidden_sizes=(8,), rngs=rngs),
    ]
    inner = perturbed(Chain(inner), scale=0.3)
    base = bases.StandardNormal((2,))
    padding = GaussianPadding((1,), 1, noise=NOISE)
    return Flow(base, Chain([padding, inner])), Flow(base, inner)


def on_grid(inner, x):
    """`log p(x, u)` for `x: [N]`, u in GRID: `[N, G]`, and `log q(u): [G]`."""
    pairs = np.stack(np.broadcast_arrays(x[:, None], GRID), -1).astype(np.float32)
    log_q = -0.5 * (GRID / NOISE) ** 2 - np.log(NOISE * np.sqrt(2 * np.pi))
    return np.asarray(inner.log_prob(pairs), np.float64), log_q


def integrate(values):
    return np.trapezoid(values, GRID, axis=-1)


def test_bound_and_estimate_against_quadrature(flows):
    flow, inner = flows
    x = np.linspace(-2, 2, 5)
    log_joint, log_q = on_grid(inner, x)
    exact = np.log(integrate(np.exp(log_joint)))
    bound = integrate(np.exp(log_q) * (log_joint - log_q))
    gap = integrate(np.exp(log_q) * (log_q - log_joint + exact[:, None]))
    assert np.all(gap > 0.05)

    events = jnp.asarray(x, jnp.float32)[:, None]

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def estimates(seed, samples, repeats):
        def one(key):
            return importance_weighted_log_prob(flow, events, key, num_samples=samples)

        return jax.lax.map(one, jax.random.split(jax.random.key(seed), repeats))

    single = np.asarray(estimates(1, 1, 20_000), np.float64)
    error = single.std(0) / np.sqrt(len(single))
    np.testing.assert_array_less(np.abs(single.mean(0) - bound), 4 * error + 1e-4)
    several = np.asarray(estimates(2, 5, 4000)).mean(0)
    assert np.all(bound < several) and np.all(several < exact)
    many = np.asarray(estimates(3, 20_000, 1))[0]
    np.testing.assert_allclose(many, exact, atol=0.02)


def test_samples_follow_the_marginal(flows):
    flow, inner = flows
    drawn = np.asarray(flow.sample(jax.random.key(3), (20_000,)))[:, 0]
    edges = np.quantile(drawn, [0.05, 0.3, 0.5, 0.8, 0.95])
    x = np.linspace(drawn.min() - 3, drawn.max() + 3, 400)
    density = integrate(np.exp(on_grid(inner, x)[0]))
    below = np.array([np.trapezoid(density[x <= e], x[x <= e]) for e in edges])
    np.testing.assert_allclose(below, [0.05, 0.3, 0.5, 0.8, 0.95], atol=0.02)


def test_a_flow_that_leaves_the_noise_alone_is_exact():
    chain = Chain([GaussianPadding((2,), 3), Dense(5, init="identity", rngs=nnx.Rngs(0))])
    chain.transforms[1].weight[...] = jnp.eye(5)
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    found = Flow(bases.StandardNormal((5,)), chain).log_prob(x)
    np.testing.assert_allclose(found, bases.StandardNormal((2,)).log_prob(x), rtol=1e-5)


def test_noise_is_that_of_the_event_and_the_key():
    layer = GaussianPadding((2,), 3, noise=2.0)
    x = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    noise = np.asarray(layer.draw(x))
    np.testing.assert_array_equal(noise[::-1], layer.draw(x[::-1]))
    np.testing.assert_array_equal(noise[7], layer.draw(x[7]))
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.12)
    np.testing.assert_allclose(np.cov(noise.T), 4 * np.eye(3), atol=0.25)
    other = with_padding_key(Chain([layer, GaussianPadding((5,), 1)]), jax.random.key(1))
    first, second = other.transforms
    assert not np.any(noise == first.draw(x))
    assert not np.array_equal(first.key[...], second.key[...])
    assert np.array_equal(layer.draw(x), noise)


def test_zero_padding_is_refused_and_so_is_none():
    with pytest.raises(ValueError, match="data padded with zeros lie in a subspace of volume zero"):
        GaussianPadding((2,), 2, noise=0.0)
    with pytest.raises(ValueError, match="at least 1"):
        GaussianPadding((2,), 0)
