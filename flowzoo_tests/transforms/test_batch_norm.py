"""Batch norm: statistics of a batch, of a whole data set, and of eight devices."""

import functools

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo import Flow, bases
from flowzoo import transforms as T
from flowzoo.transforms import transform as interface

P = jax.sharding.PartitionSpec


def chain(rngs):
    """Two batch norms with something of another scale in between."""
    return T.Chain([T.BatchNorm((3,)), T.Dense(3, rngs=rngs), T.TanhMix((3,)), T.BatchNorm((3,))])


def data(n, seed=0):
    noise = jax.random.normal(jax.random.key(seed), (n, 3))
    return 4.0 + noise * jnp.array([0.1, 1.0, 5.0])


def negative_log_likelihood(transform, x):
    z, log_det = transform.forward_and_log_det(x)
    return -(bases.StandardNormal((3,)).log_prob(z) + log_det).mean()


@jax.jit
def forward_and_log_det(transform, x):
    return transform.forward_and_log_det(x)


@jax.jit
def updated(module, x):
    module.update_statistics(x)
    return module


def test_training_mode_normalises_the_batch():
    x = data(100)
    layer = T.with_batch_statistics(T.BatchNorm((3,)))
    z, log_det = forward_and_log_det(layer, x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-3)
    np.testing.assert_allclose(log_det, -np.log(x.std(0)).sum(), rtol=1e-3)
    np.testing.assert_array_equal(layer.mean[...], 0)


def test_evaluation_mode_uses_the_stored_statistics():
    x = data(100)
    trained = chain(nnx.Rngs(0))
    np.testing.assert_allclose(trained.transforms[0].forward(x), x / np.sqrt(1 + 1e-5), rtol=1e-6)
    expected = forward_and_log_det(T.with_batch_statistics(trained), x)
    trained = updated(trained, x)
    chex.assert_trees_all_close(forward_and_log_det(trained, x), expected, atol=1e-4)
    one_row = forward_and_log_det(trained, x[:1])
    chex.assert_trees_all_close(one_row, jax.tree.map(lambda a: a[:1], expected), atol=1e-4)


def test_update_statistics_are_those_of_the_data_that_reach_each_layer(monkeypatch):
    monkeypatch.setattr(interface, "CHUNK_SIZE", 32)
    flow = Flow(bases.StandardNormal((3,)), chain(nnx.Rngs(0)))
    x = data(100)

    new = updated(flow, x)
    reaching = x
    for layer in new.transform.transforms:
        if isinstance(layer, T.BatchNorm):
            np.testing.assert_allclose(layer.mean[...], reaching.mean(0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(layer.variance[...], reaching.var(0), rtol=1e-4, atol=1e-5)
        reaching = layer.forward(reaching)
    np.testing.assert_array_equal(flow.transform.transforms[0].mean[...], 0)


def test_an_image_shares_the_statistics_of_a_channel():
    x = 3 + jax.random.normal(jax.random.key(0), (5, 4, 2, 3)) * jnp.array([1.0, 2.0, 0.1])
    layer = updated(T.BatchNorm((4, 2, 3)), x)
    np.testing.assert_allclose(layer.mean[...], np.mean(x, (0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.variance[...], np.var(x, (0, 1, 2)), rtol=1e-5)


def test_eight_devices_equal_one():
    x = data(64)
    transform = chain(nnx.Rngs(0))
    one, spread = T.with_batch_statistics(transform), T.with_batch_statistics(transform, "batch")
    value, gradient = jax.jit(nnx.value_and_grad(negative_log_likelihood))(one, x)
    assert jax.device_count() == 8
    mesh = jax.sharding.Mesh(jax.devices(), ("batch",))

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P())
    def step(transform, x):
        def loss(transform):
            return jax.lax.pmean(negative_log_likelihood(transform, x), "batch")

        return nnx.value_and_grad(loss)(transform)

    @functools.partial(jax.pmap, axis_name="batch", in_axes=(None, 0))
    def replicated_step(transform, x):
        result = nnx.value_and_grad(negative_log_likelihood)(transform, x)
        return jax.lax.pmean(result, "batch")

    replicas = jax.tree.map(lambda a: a[0], replicated_step(spread, x.reshape(8, 8, 3)))
    for result in (step(spread, x), replicas):
        chex.assert_trees_all_close(
            jax.tree.leaves(result), jax.tree.leaves((value, gradient)), rtol=1e-4, atol=1e-5
        )


def test_statistics_of_eight_devices_are_those_of_all_their_rows():
    x = 100 + data(64)
    spread = jax.pmap(lambda x: T.batch_norm.moments(x, "batch"), axis_name="batch")
    actual = spread(x.reshape(8, 8, 3))
    np.testing.assert_allclose(actual[0], np.tile(x.mean(0), (8, 1)), rtol=1e-5)
    np.testing.assert_allclose(actual[1], np.tile(x.var(0), (8, 1)), rtol=1e-5)


def test_training_mode_has_no_inverse():
    with pytest.raises(ValueError, match="no inverse"):
        T.with_batch_statistics(T.BatchNorm((3,))).inverse(jnp.zeros((2, 3)))
