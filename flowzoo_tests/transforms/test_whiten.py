"""Whitening: what it does to data, and the Gaussian that a flow then starts from."""

import warnings

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import flowzoo
from flowzoo.bases.factorial import StandardNormal
from flowzoo.transforms import Stack, Whiten
from flowzoo.transforms.linear.whiten import whitening

DIM = 5


@pytest.fixture(scope="module")
def data():
    """Correlated, far from the origin, with scales from 0.1 to 10."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    scales = np.logspace(-1, 1, DIM)
    return rng.standard_t(5, size=(3000, DIM)) @ (scales[:, None] * rotation) + 30 * scales


def gaussian_log_prob(x, shrinkage, at=None):
    """By scipy, of the Gaussian with the shrunk covariance."""
    covariance = np.cov(x.T, bias=True)
    scale = np.trace(covariance) / len(covariance)
    covariance = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(len(covariance))
    return scipy.stats.multivariate_normal(x.mean(0), covariance).logpdf(x if at is None else at)


def test_whitened_data_have_unit_covariance(data, x64):
    whiten = Whiten(DIM, shrinkage=0.0)
    z = whiten.initialize(data)
    np.testing.assert_allclose(z.mean(0), np.zeros(DIM), atol=1e-9)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(DIM), atol=1e-9)
    # The symmetric root: no rotation besides.
    np.testing.assert_allclose(whiten.weight[...], whiten.weight[...].T, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(whiten.forward(data), z)


def test_without_centering_the_second_moment_is_whitened(data, x64):
    whiten = Whiten(DIM, center=False, shrinkage=0.0)
    z = whiten.initialize(data)
    np.testing.assert_array_equal(whiten.mean[...], np.zeros(DIM))
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(DIM), atol=1e-9)


def test_on_a_standard_normal_it_is_the_fitted_gaussian(data, x64):
    flow = flowzoo.Flow(StandardNormal((DIM,)), Whiten(DIM, shrinkage=1e-3))
    flow.initialize(data)
    at = np.random.default_rng(1).normal(size=(4, 3, DIM)) + data[:3]
    expected = gaussian_log_prob(data, 1e-3, at)
    np.testing.assert_allclose(flow.log_prob(at), expected, rtol=1e-9)


def test_in_single_precision_it_is_that_gaussian_to_rounding(data):
    flow = flowzoo.Flow(StandardNormal((DIM,)), Whiten(DIM))
    flow.initialize(data.astype(np.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(flow)} == {np.dtype(np.float32)}
    log_prob = flow.log_prob(data.astype(np.float32))
    np.testing.assert_allclose(log_prob, gaussian_log_prob(data, 1e-4), atol=1e-3)
    # Both ways, to the same number of digits.
    x = flow.sample(jax.random.key(0), (100,))
    np.testing.assert_allclose(
        flow.transform.forward(x), flow.base.sample(jax.random.key(0), (100,)), atol=1e-3
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_relative_gradient_flow_starts_near_the_gaussian(data, use_bias):
    def start(**options):
        config = {"name": "fully_connected", "whiten": True, "use_bias": use_bias, **options}
        flow = flowzoo.build(config, (DIM,), rngs=nnx.Rngs(0))
        flow.initialize(jnp.asarray(data, jnp.float32))
        return float(flow.log_prob(jnp.asarray(data, jnp.float32)).mean())

    if use_bias:
        gaussian = gaussian_log_prob(data, 1e-4).mean()
    else:
        mean, values, vectors = whitening(data, center=False)
        covariance = (vectors * values) @ vectors.T
        gaussian = scipy.stats.multivariate_normal(mean, covariance).logpdf(data).mean()
    near = start(init="identity", nonlinearity={"name": "smooth_leaky_relu", "center": 20.0})
    assert abs(near - gaussian) < 0.01
    # Neither comes so near, the first because the activation bends, the second because its
    # rotations do as well.
    assert abs(start(init="identity") - gaussian) > 0.1
    assert abs(start(init="orthogonal") - gaussian) > 0.1


def test_constant_columns():
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    x[:, 1] = 7.0
    flow = flowzoo.Flow(StandardNormal((3,)), Whiten(3))
    flow.initialize(x)
    np.testing.assert_allclose(flow.log_prob(x), gaussian_log_prob(x, 1e-4), rtol=1e-3)
    with pytest.raises(ValueError, match="do not vary in some direction; pass a shrinkage above 0"):
        Whiten(3, shrinkage=0.0).initialize(x)
    with pytest.raises(ValueError, match="do not vary in some direction"):
        Whiten(3).initialize(np.ones((10, 3), np.float32))


def test_linearly_dependent_columns_are_as_constant_ones():
    x = np.random.default_rng(0).normal(size=(200, 3))
    x[:, 2] = x[:, 0] - x[:, 1]
    with pytest.raises(ValueError, match="do not vary in some direction"):
        Whiten(3, shrinkage=0.0).initialize(x)


@pytest.mark.parametrize("shrinkage", [-0.1, 1.5])
def test_shrinkage_outside_the_unit_interval_is_refused(shrinkage):
    with pytest.raises(ValueError, match="expected a number in"):
        Whiten(3, shrinkage=shrinkage)


def test_is_the_identity_before_it_has_seen_data():
    x = jnp.arange(6.0).reshape(2, 3)
    with pytest.warns(UserWarning, match="was given no data"):
        z, log_det = Whiten(3).forward_and_log_det(x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, [0.0, 0.0])


SENTENCE = "call flow.initialize\\(x\\) with the training data"


def whitened_flow(recipe):
    config = {"name": recipe, "whiten": True, "num_layers": 1}
    return flowzoo.build(config, (2,), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("recipe", ["fully_connected", "fully_connected_learned"])
def test_a_flow_that_was_given_no_data_says_so(recipe, data):
    flow, x = whitened_flow(recipe), jnp.asarray(data[:100, :2], jnp.float32)
    with pytest.warns(UserWarning, match=SENTENCE):
        jax.eval_shape(flow.log_prob, x)
    # In a training step of one's own, too; a program that was traced before says nothing again.
    with pytest.warns(UserWarning, match=SENTENCE):
        nnx.eval_shape(nnx.grad(lambda flow, x: flow.log_prob(x).mean()), flow, x[:50])
    flow.initialize(x)
    with warnings.catch_warnings(action="error"):
        jax.eval_shape(nnx.clone(flow).log_prob, x)


def test_a_flow_whose_arrays_were_restored_says_nothing(data, tmp_path):
    flow, x = whitened_flow("fully_connected"), jnp.asarray(data[:100, :2], jnp.float32)
    flow.initialize(x)
    flowzoo.save(flow, tmp_path / "flow.safetensors")
    with warnings.catch_warnings(action="error"):
        log_prob = flowzoo.load(tmp_path / "flow.safetensors").log_prob(x)
        np.testing.assert_array_equal(log_prob, flow.log_prob(x))
        packaged = flowzoo.load_pretrained("toy_moons").flow
        jax.eval_shape(packaged.log_prob, x)


def test_layers_of_a_stack_are_given_data_together(data):
    stack, x = Stack([Whiten(DIM), Whiten(DIM)]), jnp.asarray(data, jnp.float32)
    with pytest.warns(UserWarning, match=SENTENCE):
        stack.forward(x)
    with warnings.catch_warnings(action="error"):
        stack.initialize(x)
        stack.forward(x)
