"""Mixtures as maps to the normal distribution: far out, and where they are flat."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo import transforms as T

MAPS = {
    "mixture_cdf": lambda: T.MixtureCDF((1,), num_components=3),
    "mixture_autoregressive": lambda: T.MixtureAutoregressive(
        1, num_components=3, hidden_sizes=(2,), rngs=nnx.Rngs(0)
    ),
    "neural_autoregressive": lambda: T.NeuralAutoregressive(
        1, num_units=3, hidden_sizes=(2,), rngs=nnx.Rngs(0)
    ),
}


def in_double(transform):
    return jax.tree.map(lambda a: jnp.asarray(a, float) if a.dtype == jnp.float32 else a, transform)


@pytest.mark.parametrize("name", MAPS)
def test_far_out_they_are_as_accurate_as_their_inputs(name, x64):
    single = MAPS[name]()
    single = jax.tree.map(
        lambda a: jnp.asarray(a, jnp.float32) if a.dtype == jnp.float64 else a, single
    )
    x = jnp.concatenate([s * jnp.logspace(0, 9, 40, dtype=jnp.float32) for s in (-1, 1)])[:, None]

    map_all = jax.jit(lambda transform, x: transform.forward_and_log_det(x))
    found, exact = map_all(single, x), map_all(in_double(single), x.astype(float))
    for f, e in zip(found, exact, strict=True):
        np.testing.assert_allclose(f.reshape(-1), e.reshape(-1), rtol=1e-5, atol=1e-5)
    gradient = jax.jit(nnx.grad(lambda t: jnp.abs(t.forward_and_log_det(x)[1]).sum()))(single)
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(gradient))


@pytest.mark.parametrize("name", MAPS)
def test_the_log_det_far_out_is_that_of_the_jacobian(name, x64):
    transform = in_double(MAPS[name]())
    x = jnp.array([-1e8, -1e4, -30.0, 0.1, 30.0, 1e4, 1e8])[:, None]
    log_det = jax.jit(transform.forward_and_log_det)(x)[1]
    slope = jax.jit(jax.vmap(jax.jacfwd(transform.forward)))(x)[:, 0, 0]
    np.testing.assert_allclose(log_det, jnp.log(slope), rtol=1e-9, atol=1e-12)


def flat():
    """Two narrow components far apart: between them, the map hardly rises."""
    transform = T.MixtureCDF((1,), num_components=2)
    transform.mean[...] = jnp.array([[-4, 4]], jnp.float32)
    transform.log_scale[...] = jnp.full((1, 2), np.log(0.1), jnp.float32)
    return transform


@pytest.mark.parametrize("dtype, tolerance", [(jnp.float32, 4e-6), (jnp.float64, 4e-15)])
def test_inverted_to_the_tolerance_where_it_is_flat(dtype, tolerance, x64):
    transform = jax.tree.map(lambda a: jnp.asarray(a, dtype), flat())
    x = jnp.concatenate([jnp.linspace(-4, 4, 4001), jnp.array([2.5])]).astype(dtype)[:, None]
    forward = jax.jit(transform.forward)
    z = forward(x)
    back, log_det = jax.jit(transform.inverse_and_log_det)(z)
    np.testing.assert_allclose(forward(back), z, rtol=tolerance, atol=tolerance)
    assert bool(jnp.isfinite(log_det).all())


def test_samples_come_back_where_it_is_flat():
    """Latents of every size around the flat place; of normal ones, one in a million is as small."""
    transform = flat()
    sizes = jnp.logspace(-12, 0, 10_000)
    z = jnp.concatenate([-sizes, sizes])[:, None]
    there = jax.jit(lambda z: transform.forward(transform.inverse(z)))(z)
    assert float(jnp.abs(there - z).max()) < 1e-4
