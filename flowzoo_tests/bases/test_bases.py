"""Base distributions: normalised, with the stated variances, and drawn from what they state."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from flowzoo.bases.factorial import FACTORIAL
from flowzoo.bases.mixture import MixtureOfGaussians

NAMES = list(FACTORIAL)
VARIANCE = {"standard_normal": 1, "hyperbolic_secant": 1, "logistic": np.pi**2 / 3, "laplace": 2}
DISTRIBUTION = {
    "standard_normal": scipy.stats.norm(),
    "hyperbolic_secant": scipy.stats.hypsecant(scale=2 / np.pi),
    "logistic": scipy.stats.logistic(),
    "laplace": scipy.stats.laplace(),
}
GRID = np.linspace(-60, 60, 24_001)


@pytest.mark.parametrize("name", NAMES)
def test_integrates_to_one_with_the_stated_variance(name, x64):
    log_density = FACTORIAL[name].log_density(jnp.asarray(GRID))
    p = np.exp(log_density)
    np.testing.assert_allclose(np.trapezoid(p, GRID), 1, atol=1e-5)
    np.testing.assert_allclose(np.trapezoid(p * GRID**2, GRID), VARIANCE[name], rtol=1e-5)
    np.testing.assert_allclose(log_density, DISTRIBUTION[name].logpdf(GRID), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_log_prob_sums_over_the_event(name):
    base = FACTORIAL[name]((2, 3))
    z = jax.random.normal(jax.random.key(0), (5, 2, 3))
    expected = DISTRIBUTION[name].logpdf(z).sum((1, 2))
    np.testing.assert_allclose(base.log_prob(z), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"shape \(5, 2\), expected"):
        base.log_prob(z[..., 0])


@pytest.mark.parametrize("name", NAMES)
def test_samples_follow_the_density(name):
    z = FACTORIAL[name]((2,)).sample(jax.random.key(0), (2500,))
    chex.assert_shape(z, (2500, 2))
    assert scipy.stats.kstest(np.ravel(z), DISTRIBUTION[name].cdf).pvalue > 0.01
    # Independent across the event.
    assert abs(scipy.stats.spearmanr(z[:, 0], z[:, 1])[0]) < 0.06


@pytest.mark.parametrize("name", NAMES)
def test_tails_are_finite_and_symmetric(name):
    density = FACTORIAL[name].log_density
    z = jnp.array([1e-3, 1.0, 30.0, 200.0, 1e4])
    value, slope = jax.vmap(jax.value_and_grad(density))(jnp.concatenate([z, -z]))
    chex.assert_tree_all_finite((value, slope))
    np.testing.assert_array_equal(value[:5], value[5:])
    np.testing.assert_array_equal(slope[:5], -slope[5:])
    assert np.all(np.diff(value[:5]) < 0) and np.all(slope[:5] < 0)


@pytest.mark.parametrize("name", [*NAMES, "mixture"])
def test_shape_of_draws(name):
    base = FACTORIAL.get(name, mixture)((3,))
    key, context = jax.random.key(0), jnp.zeros((4, 2))
    for sample_shape in [(), (5,), (5, 1)]:
        for c, batch_shape in [(None, ()), (context[0], ()), (context, (4,))]:
            draws = jax.eval_shape(lambda k, c: base.sample(k, sample_shape, c), key, c)  # noqa: B023
            assert draws.shape == (*sample_shape, *batch_shape, 3)
    draws = jax.jit(lambda k: base.sample(k, (5, 1), context))(key)
    assert len(np.unique(draws)) == draws.size == 60
    assert jax.eval_shape(base.log_prob, draws, context).shape == (5, 1, 4)


def mixture(event_shape):
    """Three components of unequal weight, place and width."""
    base = MixtureOfGaussians(event_shape, num_components=3, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    base.logits[...] = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    base.mean[...] = jnp.array(3 * rng.normal(size=base.mean.shape))
    base.log_scale[...] = jnp.array(0.5 * rng.normal(size=base.mean.shape))
    return base


def weights_means_scales(base):
    return (
        np.array([0.2, 0.5, 0.3]),
        np.asarray(base.mean[...], np.float64),
        np.exp(np.asarray(base.log_scale[...], np.float64)),
    )


def test_mixture_integrates_to_one(x64):
    base = mixture((1,))
    p = np.exp(jax.jit(lambda base, z: base.log_prob(z))(base, GRID[:, None]))
    np.testing.assert_allclose(np.trapezoid(p, GRID), 1, atol=1e-6)


def test_mixture_is_one_of_whole_vectors(x64):
    base = mixture((2,))
    z = 3 * np.random.default_rng(1).normal(size=(4, 5, 2))
    weights, means, scales = weights_means_scales(base)
    joint = scipy.stats.norm(means, scales).pdf(z[..., None, :]).prod(-1)
    np.testing.assert_allclose(base.log_prob(jnp.asarray(z)), np.log(joint @ weights), rtol=1e-9)
    # Only the ratios of the weights count.
    base.logits[...] += 7.0
    np.testing.assert_allclose(base.log_prob(jnp.asarray(z)), np.log(joint @ weights), rtol=1e-9)


def test_mixture_samples_have_its_weights_and_moments():
    base = mixture((2,))
    weights, means, scales = weights_means_scales(base)
    z = np.asarray(jax.jit(lambda key: base.sample(key, (5000,)))(jax.random.key(0)))
    mean = weights @ means
    second = np.einsum("k,ki,kj->ij", weights, means, means) + np.diag(weights @ scales**2)
    np.testing.assert_allclose(z.mean(0), mean, atol=0.15)
    np.testing.assert_allclose(np.cov(z.T), second - np.outer(mean, mean), atol=0.4)

    def cdf(t):
        return scipy.stats.norm(means[:, 0], scales[:, 0]).cdf(t[..., None]) @ weights

    assert scipy.stats.kstest(z[:, 0], cdf).pvalue > 0.01


def test_mixture_starts_with_equal_weights_and_unit_scales():
    base = MixtureOfGaussians((2,), num_components=4, rngs=nnx.Rngs(0))
    mean = np.asarray(base.mean[...])
    far = mean[0] + 1e3
    log_prob, gradient = jax.jit(nnx.value_and_grad(lambda base: base.log_prob(far)))(base)
    nearest = np.max(-0.5 * np.sum((far - mean) ** 2, -1))
    np.testing.assert_allclose(log_prob, nearest - np.log(4) - np.log(2 * np.pi), rtol=1e-5)
    chex.assert_tree_all_finite(jax.tree.leaves(gradient))
    with pytest.raises(ValueError, match="0 components, expected >= 1"):
        MixtureOfGaussians((2,), num_components=0, rngs=nnx.Rngs(0))
