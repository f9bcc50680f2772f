"""Properties that every transform must have, driven by the registry."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo_tests.registry import TRANSFORMS

pytestmark = pytest.mark.parametrize("name", TRANSFORMS)


def build(name, perturb=True):
    """A transform in general position: constructors often start at the identity."""
    transform = TRANSFORMS[name](nnx.Rngs(0))
    if perturb:
        graph, parameters, rest = nnx.split(transform, nnx.Param, ...)
        leaves, structure = jax.tree.flatten(parameters)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        leaves = [a + 0.1 * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys)]
        transform = nnx.merge(graph, jax.tree.unflatten(structure, leaves), rest)
    return transform


def cast(transform, dtype):
    return jax.tree.map(
        lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, transform
    )


def events(transform, batch_shape=(), seed=2, dtype=jnp.float32):
    return jax.random.normal(jax.random.key(seed), batch_shape + transform.event_shape, dtype)


def context_for(transform, batch_shape=(), seed=3, dtype=jnp.float32):
    size = getattr(transform, "context_size", 0)
    if not size:
        return None
    return jax.random.normal(jax.random.key(seed), batch_shape + (size,), dtype)


def test_round_trip(name, x64):
    transform = cast(build(name), jnp.float64)
    x = 2 * events(transform, (7, 2), dtype=jnp.float64)
    context = context_for(transform, (7, 2), dtype=jnp.float64)
    z, log_det = transform.forward_and_log_det(x, context)
    back, inverse_log_det = transform.inverse_and_log_det(z, context)
    chex.assert_shape(z, (7, 2, *transform.latent_shape))
    chex.assert_shape([log_det, inverse_log_det], (7, 2))
    np.testing.assert_allclose(back, x, atol=1e-8)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-8)
    np.testing.assert_array_equal(transform.forward(x, context), z)
    np.testing.assert_array_equal(transform.inverse(z, context), back)


def test_log_det_is_that_of_the_jacobian(name, x64):
    transform = cast(build(name), jnp.float64)
    x, context = events(transform, dtype=jnp.float64), context_for(transform, dtype=jnp.float64)
    dim = x.size

    def flat(v):
        return transform.forward(v.reshape(x.shape), context).reshape(dim)

    jacobian = jax.jacrev(flat)(x.reshape(dim))
    expected = jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(
        transform.forward_and_log_det(x, context)[1], expected, rtol=1e-9, atol=1e-9
    )
    z = transform.forward(x, context)
    inverse_jacobian = jax.jacrev(
        lambda v: transform.inverse(v.reshape(z.shape), context).reshape(dim)
    )(z.reshape(dim))
    np.testing.assert_allclose(inverse_jacobian @ jacobian, np.eye(dim), atol=1e-7)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 30.0, 1e4])
def test_extreme_inputs_stay_finite(name, scale):
    transform = build(name)
    x = scale * jnp.sign(events(transform, (4,)))
    context = context_for(transform, (4,))

    def total(transform, x):
        z, log_det = transform.forward_and_log_det(x, context)
        return (z.sum() + log_det.sum()), (z, log_det)

    gradients, outputs = nnx.grad(total, argnums=(0, 1), has_aux=True)(transform, x)
    chex.assert_tree_all_finite((jax.tree.leaves(gradients), outputs))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_kept(name, dtype, x64):
    transform = cast(build(name), dtype)
    x, context = events(transform, (3,), dtype=dtype), context_for(transform, (3,), dtype=dtype)
    z, log_det = transform.forward_and_log_det(x, context)
    outputs = (z, log_det, *transform.inverse_and_log_det(z, context))
    assert [a.dtype for a in outputs] == [dtype] * 4


def test_jit_vmap_and_loop_agree(name):
    transform = build(name)
    x, context = events(transform, (3,)), context_for(transform, (3,))
    expected = transform.forward_and_log_det(x, context)
    jitted = jax.jit(lambda t, x, c: t.forward_and_log_det(x, c))(transform, x, context)
    mapped = jax.vmap(transform.forward_and_log_det)(x, context)
    loop = [
        transform.forward_and_log_det(x[i], None if context is None else context[i])
        for i in range(3)
    ]
    for other in (jitted, mapped, jax.tree.map(lambda *a: jnp.stack(a), *loop)):
        chex.assert_trees_all_close(other, expected, atol=1e-5, rtol=1e-5)
    z = expected[0]
    chex.assert_trees_all_close(
        jax.vmap(transform.inverse_and_log_det)(z, context),
        transform.inverse_and_log_det(z, context),
        atol=1e-4,
        rtol=1e-4,
    )


def test_is_a_plain_pytree(name):
    transform = build(name)
    leaves, structure = jax.tree.flatten(transform)
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert hash(structure) == hash(jax.tree.structure(rebuilt))
    x, context = events(transform), context_for(transform)
    chex.assert_trees_all_equal(
        rebuilt.forward_and_log_det(x, context), transform.forward_and_log_det(x, context)
    )


def test_state_saves_and_loads(name):
    trained, fresh = build(name), build(name, perturb=False)
    x, context = events(trained), context_for(trained)
    nnx.update(fresh, nnx.to_pure_dict(nnx.state(trained)))
    chex.assert_trees_all_equal(
        fresh.forward_and_log_det(x, context), trained.forward_and_log_det(x, context)
    )


def test_context_changes_the_result_only_where_there_is_one(name):
    transform = build(name)
    x, context = events(transform), context_for(transform)
    other = context_for(transform, seed=4)
    if context is None:
        context, other = jnp.zeros(2), jnp.ones(2)
    z, moved = transform.forward(x, context), transform.forward(x, other)
    assert bool(jnp.any(z != moved)) == bool(getattr(transform, "context_size", 0))


def test_wrong_shape_is_refused(name):
    transform = build(name)
    wrong = jnp.zeros((2, *transform.event_shape[:-1], transform.event_shape[-1] + 1))
    with pytest.raises(ValueError, match="expected"):
        transform.forward_and_log_det(wrong, context_for(transform, (2,)))
