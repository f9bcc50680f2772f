"""Batch norm: statistics of a batch, of a whole data set, and of eight devices."""

import functools

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo import Flow, bases
from flowzoo import transforms as T
from flowzoo.transforms import transform as interface
from flowzoo.transforms.normalization.batch_norm import moments
from flowzoo_tests.perturb import perturbed

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
    layer = T.with_modes(T.BatchNorm((3,)), batch_statistics=True)
    z, log_det = forward_and_log_det(layer, x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-3)
    np.testing.assert_allclose(log_det, -np.log(x.std(0)).sum(), rtol=1e-3)
    np.testing.assert_array_equal(layer.mean[...], 0)


def test_evaluation_mode_uses_the_stored_statistics():
    x = data(100)
    trained = chain(nnx.Rngs(0))
    np.testing.assert_allclose(trained.transforms[0].forward(x), x / np.sqrt(1 + 1e-5), rtol=1e-6)
    expected = forward_and_log_det(T.with_modes(trained, batch_statistics=True), x)
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
    one, spread = (
        T.with_modes(transform, batch_statistics=True),
        T.with_modes(transform, batch_statistics=True, axis_name="batch"),
    )
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
    spread = jax.pmap(lambda x: moments(x, "batch"), axis_name="batch")
    actual = spread(x.reshape(8, 8, 3))
    np.testing.assert_allclose(actual[0], np.tile(x.mean(0), (8, 1)), rtol=1e-5)
    np.testing.assert_allclose(actual[1], np.tile(x.var(0), (8, 1)), rtol=1e-5)


def test_a_copy_for_training_is_not_sampled_from():
    flow = Flow(bases.StandardNormal((3,)), T.Inverse(T.BatchNorm((3,))))
    copy = T.with_modes(flow, batch_statistics=True)
    flow.sample(jax.random.key(0))
    for draw in (copy.sample, copy.sample_and_log_prob):
        with pytest.raises(ValueError, match="sample from the flow that with_modes copied"):
            draw(jax.random.key(0))


def backwards(rngs):
    """Inverse autoregressive layers and batch norms, held by all that holds transforms."""

    def part():
        iaf = T.MaskedAutoregressive(3, hidden_sizes=(8,), rngs=rngs)
        return T.Chain([T.BatchNorm((3,)), T.Dense(3, rngs=rngs), iaf])

    stack = T.Stack([T.Chain([T.BatchNorm((3,)), T.TanhMix((3,))]) for _ in range(2)])
    image = T.FactorOut((1, 1, 3), T.BatchNorm((1, 1, 2)))
    image = T.Chain([T.Reshape((3,), (1, 1, 3)), image])
    return T.Chain(
        [
            T.Inverse(part()),
            T.Inverse(stack),
            T.Inverse(T.Chain([T.Inverse(part()), image])),
            part(),
        ]
    )


def batch_norms(module):
    return {path: m for path, m in nnx.iter_modules(module) if isinstance(m, T.BatchNorm)}


def test_backwards_it_normalises_what_arrives():
    layer = perturbed(T.BatchNorm((3,)), scale=0.3)
    inverse, x = T.Inverse(layer), data(200)
    expected = (x - x.mean(0) - layer.beta[...]) / jnp.sqrt(x.var(0) + layer.eps)
    expected = expected * jnp.exp(-layer.log_gamma[...])
    copy = T.with_modes(inverse, batch_statistics=True)
    for transform in (copy, updated(inverse, x)):
        z, log_det = transform.forward_and_log_det(x)
        np.testing.assert_allclose(z, expected, rtol=1e-3, atol=1e-3)
        scale = layer.log_gamma[...] + 0.5 * jnp.log(x.var(0) + layer.eps)
        np.testing.assert_allclose(log_det, -scale.sum(), rtol=1e-4)


def test_backwards_statistics_of_the_whole_set_are_those_of_the_batch_that_it_is():
    x = data(300)
    transform = perturbed(backwards(nnx.Rngs(0)))
    expected = forward_and_log_det(T.with_modes(transform, batch_statistics=True), x)
    transform = updated(transform, x)
    chex.assert_trees_all_close(forward_and_log_det(transform, x), expected, rtol=2e-3, atol=2e-3)
    assert len(batch_norms(transform)) == 5
    for layer in batch_norms(transform).values():
        assert bool(jnp.all(layer.mean[...] != 0) & jnp.all(layer.variance[...] != 1))
    np.testing.assert_allclose(transform.inverse(transform.forward(x)), x, rtol=1e-2, atol=1e-2)


def test_an_inverse_autoregressive_flow_with_batch_norm_trains():
    x, rngs = data(500), nnx.Rngs(0)
    layers = []
    for _ in range(2):
        iaf = T.MaskedAutoregressive(3, hidden_sizes=(8,), rngs=rngs)
        layers += [T.BatchNorm((3,)), iaf, T.Reverse(3)]
    flow = Flow(bases.StandardNormal((3,)), T.Inverse(T.Chain(layers)))
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(state, x):
        flow, moments = state

        def loss(flow):
            copy = T.with_modes(flow.transform, batch_statistics=True)
            return negative_log_likelihood(copy, x)

        value, gradients = nnx.value_and_grad(loss)(flow)
        updates, moments = optimizer.update(gradients, moments)
        nnx.update(flow, optax.apply_updates(nnx.state(flow, nnx.Param), updates))
        return (flow, moments), value

    state = flow, optimizer.init(nnx.state(flow, nnx.Param))
    losses = []
    for _ in range(30):
        state, loss = step(state, x)
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.1
    flow = updated(state[0], x)
    np.testing.assert_allclose(-flow.log_prob(x).mean(), step(state, x)[1], atol=1e-3)


def test_inverse_of_huge_variances_stays_finite():
    inverse, x = T.Inverse(T.BatchNorm((3,))), jnp.float32(1e8) * data(100)
    for transform in (T.with_modes(inverse, batch_statistics=True), updated(inverse, x)):
        outputs = transform.forward_and_log_det(x)
        chex.assert_tree_all_finite(outputs)
