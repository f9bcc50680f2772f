"""MADE MoG: as a density, as a sampler and as a transform, which must be one model."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from flowzoo import transforms as T
from flowzoo.bases.autoregressive import MixtureMADE
from flowzoo.bases.factorial import StandardNormal
from flowzoo.flow import Flow
from flowzoo.numerics.normal import log_hazard, log_ndtr, normal_quantile
from flowzoo_tests.perturb import perturbed


@pytest.fixture(scope="module")
def made():
    base = MixtureMADE(2, num_components=4, hidden_sizes=(8,), rngs=nnx.Rngs(0))
    return perturbed(base)


@pytest.fixture(scope="module")
def flow(made):
    """The same parameters as a transform onto a standard normal."""
    transform = T.MixtureAutoregressive(2, num_components=4, hidden_sizes=(8,), rngs=nnx.Rngs(1))
    nnx.update(transform.net, nnx.state(made.net))
    return Flow(StandardNormal((2,)), transform)


log_prob = jax.jit(lambda model, x: model.log_prob(x))


def test_density_integrates_to_one(made):
    grid = np.linspace(-25, 25, 1001, dtype=np.float32)
    x = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    total = np.exp(np.asarray(log_prob(made, x), np.float64)).sum() * (grid[1] - grid[0]) ** 2
    np.testing.assert_allclose(total, 1, atol=2e-4)


def test_samples_follow_the_density(made, flow):
    x = made.sample(jax.random.key(0), (5_000,))
    z = np.asarray(flow.transform.forward(x))
    for column in z.T:
        assert scipy.stats.kstest(column, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.05


def test_base_and_transform_are_one_density_far_into_the_tails(made, flow):
    x = (
        jnp.linspace(-1, 1, 41)[:, None]
        * jnp.array([[1.0, -3.0], [50.0, 20.0], [1e4, 1e4]])[:, None]
    )
    np.testing.assert_allclose(log_prob(flow, x), log_prob(made, x), rtol=2e-6, atol=2e-6)


def test_quantiles_invert_the_distribution_function(flow, x64):
    transform = jax.tree.map(
        lambda a: a.astype(float) if a.dtype == "float32" else a, flow
    ).transform
    z = 8 * jax.random.normal(jax.random.key(0), (200, 2))
    x, log_det = transform.inverse_and_log_det(z)
    back, forward_log_det = transform.forward_and_log_det(x)
    np.testing.assert_allclose(back, z, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(log_det, -forward_log_det, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 2e-6), (jnp.float64, 1e-12)])
def test_normal_tail_and_its_quantile(dtype, tolerance, x64):
    y = jnp.asarray(np.concatenate([np.linspace(-30, 5, 2_001), [-1e4, -1e7]]), dtype)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(log_ndtr)))(y)
    exact = np.asarray(y, np.float64)
    np.testing.assert_allclose(value, scipy.special.log_ndtr(exact), rtol=tolerance, atol=tolerance)
    hazard = np.sqrt(2 / np.pi) / scipy.special.erfcx(-exact / np.sqrt(2))
    np.testing.assert_allclose(slope, hazard, rtol=20 * tolerance)
    np.testing.assert_allclose(log_hazard(y), np.log(hazard), rtol=tolerance, atol=20 * tolerance)
    quantile = jax.jit(normal_quantile)(value, log_ndtr(-y))
    np.testing.assert_allclose(quantile, y, rtol=2 * tolerance, atol=2 * tolerance)
    t = value[y < 0]
    slope = jax.jit(jax.vmap(jax.grad(lambda t: normal_quantile(t, jnp.log(-jnp.expm1(t))))))(t)
    np.testing.assert_allclose(slope, 1 / hazard[exact < 0], rtol=20 * tolerance)


def test_no_components_are_refused():
    for build in (MixtureMADE, T.MixtureAutoregressive):
        with pytest.raises(ValueError, match="num_components is 0, expected at least 1"):
            build(2, num_components=0, rngs=nnx.Rngs(0))
