"""The fully connected layer: initial weights, factorisations, checks and copies."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.bases.factorial import StandardNormal
from flowzoo.transforms import Chain, Dense, with_modes
from flowzoo.transforms.linear.dense import (
    check_invertible,
    dense_layers,
    dense_weights,
)
from flowzoo_tests.perturb import perturbed

DIM = 32


def two_layers(dim=DIM, **options):
    config = {"name": "fully_connected", **options}
    return flowzoo.build(config, (dim,), rngs=nnx.Rngs(0))


def factorisations(f, *args) -> int:
    """How many LU factorisations the compiled program runs."""
    text = jax.jit(f).lower(*args).compile().as_text()
    return text.count('custom_call_target="lapack_sgetrf_ffi"')


def test_orthogonal_start():
    first, second = (Dense(DIM, rngs=nnx.Rngs(seed)) for seed in (0, 1))
    weight = np.asarray(first.weight[...], np.float64)
    np.testing.assert_allclose(weight @ weight.T, np.eye(DIM), atol=1e-5)
    assert np.abs(weight - second.weight[...]).max() > 0.1
    np.testing.assert_array_equal(first.bias[...], np.zeros(DIM))
    assert Dense(DIM, use_bias=False, rngs=nnx.Rngs(0)).bias is None


@pytest.mark.parametrize("dim", [8, 256])
def test_identity_start(dim):
    layer = Dense(dim, init="identity", rngs=nnx.Rngs(0))
    noise = np.linalg.norm(np.asarray(layer.weight[...]) - np.eye(dim), 2)
    assert 0.01 < noise < 0.025
    np.testing.assert_array_equal(layer.bias[...], np.zeros(dim))


def test_unknown_init_is_refused():
    with pytest.raises(ValueError, match="got init 'xavier', expected one of orthogonal, identity"):
        Dense(3, init="xavier", rngs=nnx.Rngs(0))


def test_inverse_factors_each_weight_once():
    layers = [Dense(4, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    flow = flowzoo.Flow(StandardNormal((4,)), Chain(layers))
    batch = jnp.zeros((5, 3, 4))
    assert factorisations(lambda f, z: f.transform.inverse(z), flow, batch) == 2
    one_by_one = jax.vmap(jax.vmap(flow.transform.inverse_and_log_det))
    assert factorisations(one_by_one, batch) == 2
    key = jax.random.key(0)
    assert factorisations(lambda f, key: f.sample_and_log_prob(key, (5, 3)), flow, key) == 2
    assert factorisations(lambda f, x: f.log_prob(x), flow, batch) == 2


def test_factored_copy_gives_the_same_numbers_without_factoring():
    flow = perturbed(two_layers(dim=4))
    copy = with_modes(flow, factored=True)
    assert all(layer.factors is None for layer in dense_layers(flow).values())
    z = jax.random.normal(jax.random.key(0), (5, 4))

    def both(flow, z):
        return flow.transform.inverse_and_log_det(z), flow.transform.forward_and_log_det(z)

    expected = jax.jit(both)(flow, z)
    chex.assert_trees_all_close(jax.jit(both)(copy, z), expected, rtol=1e-5, atol=1e-5)
    assert factorisations(both, copy, z) == 0 < factorisations(both, flow, z)


def test_sampling_then_forward_returns_the_latents():
    flow = perturbed(two_layers(dim=128), scale=0.02)

    @jax.jit
    def latents(flow, key):
        return flow.base.sample(key, (200,)), flow.transform.forward(flow.sample(key, (200,)))

    chex.assert_trees_all_close(*latents(flow, jax.random.key(0)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("rule", ["relative", "transposed", "data_terms"])
def test_gradient_rule_belongs_to_the_copy(rule):
    flow = perturbed(two_layers(dim=4))
    before = jax.tree.map(np.array, flow)
    copy = with_modes(flow, gradient_rule=rule)
    x = jnp.linspace(-1, 1, 12).reshape(3, 4)
    differentiate = jax.jit(nnx.value_and_grad(lambda flow: flow.log_prob(x).mean()))
    (value, gradient), (same, other) = differentiate(flow), differentiate(copy)
    np.testing.assert_allclose(same, value, rtol=1e-6)
    weight_gradient, other_weight_gradient = (
        each.transform.transforms[0].weight[...] for each in (gradient, other)
    )
    assert np.abs(weight_gradient - other_weight_gradient).max() > 0.01

    copy.transform.transforms[0].weight[...] += 1.0
    assert [layer.gradient_rule for layer in dense_layers(flow).values()] == ["ordinary"] * 2
    chex.assert_trees_all_equal(jax.tree.leaves(flow), jax.tree.leaves(before))
    with pytest.raises(ValueError, match="'natural', expected one of ordinary, relative"):
        with_modes(flow, gradient_rule="natural")


def test_layers_are_found_by_path():
    flow = two_layers(dim=4, whiten=True)
    assert list(dense_layers(flow)) == [("transform", "transforms", i) for i in (1, 3)]
    assert dense_weights(flow) == [f"transform/transforms/{i}/weight" for i in (1, 3)]


def test_singular_weights_are_refused_by_name():
    flow = two_layers(dim=4)
    check_invertible(flow)
    weight = flow.transform.transforms[2].weight
    sound = weight[...]
    weight[...] = sound * jnp.array([1e-4, 1, 1, 1e4])  # Badly conditioned is still invertible.
    check_invertible(flow)
    for singular in (sound.at[1].set(0.0), sound.at[:, 1].set(2 * sound[:, 3])):
        weight[...] = singular
        with pytest.raises(ValueError, match=r"transform\.transforms\.2 is singular \(condition"):
            check_invertible(flow)
    for value in (jnp.nan, jnp.inf):
        weight[...] = sound.at[2, 1].set(value)
        with pytest.raises(ValueError, match=r"transform\.transforms\.2 holds NaN or infinity"):
            check_invertible(flow)
    with pytest.raises(ValueError, match="weight of the layer holds NaN"):
        check_invertible(flow.transform.transforms[2])
