"""Student's t, the truncated normal and the circle against SciPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from flowzoo import bases


def test_student_t(x64):
    base = bases.StudentT((3,), degrees=4.0)
    base.log_degrees[...] = jnp.log(jnp.array([1.5, 4.0, 30.0]))
    z = base.sample(jax.random.key(0), (4000,))
    expected = scipy.stats.t(np.array([1.5, 4.0, 30.0]))
    np.testing.assert_allclose(base.log_prob(z), expected.logpdf(z).sum(-1), rtol=1e-10)
    for column, degrees in zip(z.T, (1.5, 4.0, 30.0), strict=True):
        assert scipy.stats.kstest(column, scipy.stats.t(degrees).cdf).pvalue > 1e-3


def test_degrees_are_trained_or_not():
    z = jnp.ones((5, 2))
    for trained in (True, False):
        base = bases.StudentT((2,), trained=trained)
        gradient = jax.grad(lambda base: base.log_prob(z).sum())(base)
        assert bool(jnp.any(gradient.log_degrees[...] != 0)) == trained


def test_truncated_normal(x64):
    base = bases.TruncatedNormal((2,), low=-1.0, high=2.5)
    z = base.sample(jax.random.key(0), (4000,))
    expected = scipy.stats.truncnorm(-1.0, 2.5)
    np.testing.assert_allclose(base.log_prob(z), expected.logpdf(z).sum(-1), rtol=1e-10)
    assert float(base.log_prob(jnp.array([0.0, 2.6]))) == -np.inf
    for column in z.T:
        assert scipy.stats.kstest(column, expected.cdf).pvalue > 1e-3


def test_uniform_circle():
    base = bases.UniformCircle((2,))
    z = base.sample(jax.random.key(0), (4000,))
    np.testing.assert_allclose(base.log_prob(z), -2 * math.log(2 * math.pi), rtol=1e-6)
    uniform = scipy.stats.uniform(-math.pi, 2 * math.pi)
    assert all(scipy.stats.kstest(column, uniform.cdf).pvalue > 1e-3 for column in z.T)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="StudentT got degrees 0, expected a positive"):
        bases.StudentT((2,), degrees=0)
    with pytest.raises(ValueError, match="TruncatedNormal got low 1 and high 0"):
        bases.TruncatedNormal((2,), low=1, high=0)
