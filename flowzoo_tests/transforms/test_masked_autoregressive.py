"""Masked autoregressive layers: what each coordinate sees, and inverses against the naive one."""

import itertools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo import transforms as T
from flowzoo.nets.masked_mlp import TILE, MaskedMLP
from flowzoo.numerics.root_finding import iterate
from flowzoo.numerics.smooth import LOG_SCALE_BOUND
from flowzoo_tests.perturb import perturbed

# Not a multiple of the tile: the last tile is padded.
DIM = 2 * TILE + 3

NETWORKS = {
    "narrow": dict(hidden_sizes=(20,), context_size=2),
    "two_layers": dict(hidden_sizes=(70, 20), activation="tanh"),
    "random": dict(hidden_sizes=(50, 40), degrees="random", context_size=2),
    "residual": dict(hidden_sizes=(40, 40, 40), degrees="random", residual=True),
}


def layer_of(dim, seed=0, **options):
    return perturbed(T.MaskedAutoregressive(dim, rngs=nnx.Rngs(seed), **options))


def naive_inverse(layer, z, context=None):
    """D passes through the network, each of which makes one more coordinate right."""

    def sweep(x, _):
        y = layer.net(x, context)
        log_scale = LOG_SCALE_BOUND * jnp.tanh(y[..., 1, :] / LOG_SCALE_BOUND)
        return z * jnp.exp(log_scale) + y[..., 0, :], None

    return jax.lax.scan(sweep, jnp.zeros_like(z), length=z.shape[-1])[0]


def reachable(degrees, dim):
    """Whether a path of units leads from input j to output i, by the definition of degrees."""
    inputs = np.arange(dim)
    seen = np.asarray(degrees[0])[:, None] > inputs
    for before, after in itertools.pairwise(degrees):
        seen = (np.asarray(after)[:, None] >= np.asarray(before)) @ seen
    return (inputs[:, None] >= np.asarray(degrees[-1])) @ seen


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["sequential", "random"])
def test_jacobian_has_the_zero_pattern_of_the_degrees(kind, seed):
    dim = 6
    layer = layer_of(dim, seed, hidden_sizes=(12, 15), activation="tanh", degrees=kind)
    x = jax.random.normal(jax.random.key(seed), (3, dim))
    jacobian = jax.jit(lambda f, x: jax.vmap(jax.jacfwd(f.forward))(x))(layer, x)
    degrees = [each[...] for each in layer.net.degrees]
    expected = reachable(degrees, dim) | np.eye(dim, dtype=bool)
    assert not np.any(np.triu(expected, 1))
    assert np.all(expected[1:, 0])
    if kind == "sequential":
        np.testing.assert_array_equal(expected, np.tri(dim, dtype=bool))
    np.testing.assert_array_equal(np.any(jacobian != 0, 0), expected)


def test_every_output_sees_the_context():
    layer = layer_of(5, hidden_sizes=(10, 10), context_size=1, degrees="random")
    x = jnp.zeros(5)
    jacobian = jax.jacfwd(lambda c: layer.forward(x, c))(jnp.ones(1))
    assert np.all(jacobian != 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_both_inverses_are_the_naive_one(name):
    layer = layer_of(DIM, **NETWORKS[name])
    z = jax.random.normal(jax.random.key(0), (4, 3, DIM))
    size = layer.context_size
    context = jax.random.normal(jax.random.key(1), (3, size)) if size else None
    expected = jax.jit(naive_inverse)(layer, z, context)
    np.testing.assert_allclose(layer.inverse(z, context), expected, rtol=1e-4, atol=1e-4)
    layer.inverse_method = "fixed_point"
    np.testing.assert_allclose(layer.inverse(z, context), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["sequential", "fixed_point"])
def test_gradients_through_the_inverse(method, x64):
    layer = layer_of(5, hidden_sizes=(8,), inverse_method=method)
    layer = jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, layer)
    z = jax.random.normal(jax.random.key(0), (3, 5))

    def gradient(inverse):
        return jax.jit(nnx.grad(lambda layer: jnp.sum(inverse(layer, z) ** 2)))(layer)

    actual = gradient(lambda layer, z: layer.inverse(z))
    expected = gradient(naive_inverse)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_iteration_ends_exactly_after_as_many_sweeps_as_dimensions():
    sweeps = []

    def sweep(x):
        jax.debug.callback(lambda: sweeps.append(1), ordered=True)
        return jnp.concatenate([jnp.ones(1), 3 * x[:-1]])

    x = iterate(sweep, jnp.full(6, 1e30))
    jax.effects_barrier()
    np.testing.assert_array_equal(x, 3.0 ** np.arange(6))
    assert len(sweeps) == 6


def test_iteration_survives_an_explosion_on_the_way():
    def sweep(x):
        return jnp.tril(jnp.full((4, 4), 1e19), -1) @ (x * jnp.array([0, 0, 1, 1])) + 1

    np.testing.assert_array_equal(iterate(sweep, jnp.full(4, 1e30))[:3], 1)


def test_random_degrees_are_saved_with_the_model():
    options = dict(hidden_sizes=(30, 30), degrees="random")
    trained, fresh = layer_of(9, 1, **options), layer_of(9, 2, **options)
    assert np.any(trained.net.degrees[0][...] != fresh.net.degrees[0][...])
    nnx.update(fresh, nnx.to_pure_dict(nnx.state(trained)))
    x = jax.random.normal(jax.random.key(0), (4, 9))
    z = trained.forward(x)
    np.testing.assert_array_equal(fresh.forward(x), z)
    np.testing.assert_allclose(fresh.inverse(z), x, atol=1e-4)


def test_explicit_degrees_may_come_in_any_order():
    layer = layer_of(3, hidden_sizes=(4,), degrees=[[2, 1, 1, 2]])
    np.testing.assert_array_equal(layer.net.degrees[0][...], [1, 1, 2, 2])
    x = jax.random.normal(jax.random.key(0), (4, 3))
    np.testing.assert_allclose(layer.inverse(layer.forward(x)), x, atol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(degrees=[[2, 2]]), "leave output 1 without input 0; give a unit the degree 1"),
        (dict(degrees=[[1, 1]], context_size=1), "leave output 0 without the context"),
        (dict(degrees=[[1, 3]]), r"lie in 1 … 3, expected 0 … 2"),
        (dict(degrees=[[1, 2, 2]]), "expected one list for each of the hidden layers"),
        (dict(degrees="sorted"), "expected sequential, random, or a list"),
        (dict(hidden_sizes=(1,), context_size=1), "expected at least 2"),
        (dict(hidden_sizes=()), "expected one or more positive numbers"),
        (dict(hidden_sizes=(2, 3), residual=True), "expected equal ones"),
        (
            dict(hidden_sizes=(2, 2), residual=True, degrees=[[1, 2], [1, 1]]),
            "differ between its layers",
        ),
        (dict(activation="gelu"), "expected one of relu, tanh"),
        (dict(inverse_method="newton"), "expected one of sequential, fixed_point"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        T.MaskedAutoregressive(3, rngs=nnx.Rngs(0), **{"hidden_sizes": (2,), **options})


def test_bad_sizes_and_contexts_are_refused():
    with pytest.raises(ValueError, match="expected at least 1"):
        MaskedMLP(0, 1, rngs=nnx.Rngs(0))
    layer = layer_of(3, hidden_sizes=(4,), context_size=2)
    for context in (None, jnp.zeros((1, 3))):
        with pytest.raises(ValueError, match=r"context_size 2 got .*, expected \[..., 2\]"):
            layer.inverse(jnp.zeros((1, 3)), context)


def deep(name, bound, scale):
    """Ten layers in general position, with the statistics of standard normal data, and those."""
    options = {"name": name, "num_layers": 10, "hidden_sizes": (32,), "input_bound": bound}
    flow = perturbed(flowzoo.build(options, (8,), rngs=nnx.Rngs(0)), scale=scale)
    x = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    flow.update_statistics(x)
    return flow, x


@pytest.mark.parametrize("name", ["maf", "real_nvp"])
def test_a_bound_of_the_networks_inputs_leaves_data_alone_and_tames_what_lies_far_out(name):
    (wild, x), (tame, _) = deep(name, None, 0.02), deep(name, 20.0, 0.02)
    np.testing.assert_allclose(tame.log_prob(x), wild.log_prob(x), rtol=2e-6)
    wild, tame = (deep(name, bound, 0.15)[0] for bound in (None, 20.0))
    outlier = jnp.full((1, 8), 1e4)
    assert float(tame.log_prob(outlier)[0]) > 0.05 * float(wild.log_prob(outlier)[0])
    assert np.isfinite(tame.log_prob(outlier)[0])


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_not_positive_is_refused(bound):
    with pytest.raises(ValueError, match="input_bound .*, expected a positive number"):
        layer_of(3, hidden_sizes=(4,), input_bound=bound)
