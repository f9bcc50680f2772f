"""Properties that every transform must have, driven by the registry."""

import functools

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo_tests.transforms.registry import TRANSFORMS

# All tests of one transform in a row: they share compiled programs, which are forgotten in time.
pytestmark = pytest.mark.parametrize("name", TRANSFORMS, scope="module")


@functools.cache
def arrays(name, perturb):
    # Built in double precision, so that a cast to single is exact enough for both.
    with jax.enable_x64(True):
        graph, parameters, rest = nnx.split(TRANSFORMS[name](nnx.Rngs(0)), nnx.Param, ...)
        if perturb:
            rng = np.random.default_rng(1)
            parameters = jax.tree.map(
                lambda a: (a + 0.1 * rng.normal(size=a.shape)).astype(a.dtype), parameters
            )
        return jax.tree.map(np.asarray, nnx.merge(graph, parameters, rest))


def build(name, dtype=jnp.float32, perturb=True):
    """A transform in general position: constructors often start at the identity."""

    def cast(a):
        return jnp.asarray(a, dtype if np.issubdtype(a.dtype, np.floating) else None)

    return jax.tree.map(cast, arrays(name, perturb))


def events(transform, batch_shape=(), seed=2, dtype=jnp.float32):
    shape = batch_shape + transform.event_shape
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def context_for(transform, batch_shape=(), seed=3, dtype=jnp.float32, ignored=0):
    """A context for it; of size `ignored`, if not zero, where it takes none."""
    size = getattr(transform, "context_size", 0) or ignored
    if not size:
        return None
    return jnp.asarray(np.random.default_rng(seed).normal(size=batch_shape + (size,)), dtype)


def there_and_back(transform, x, context):
    z, log_det = transform.forward_and_log_det(x, context)
    # The barrier keeps the compiler from using that z came from x.
    back, inverse_log_det = transform.inverse_and_log_det(jax.lax.optimization_barrier(z), context)
    return z, log_det, back, inverse_log_det


# Compiling these is what the tests of a transform cost: all of them share three programs, in double
# precision, for one event, a batch and a batch that `vmap` sees.
jitted = jax.jit(there_and_back)
mapped = jax.jit(jax.vmap(there_and_back, in_axes=(None, 0, 0)))
BATCH = (3, 2)


@jax.jit
def jacobians(transform, x, context):
    """log-det at x, the Jacobian `[D, D]` of forward there and that of inverse at its image."""

    def jacobian(f, at):
        return jax.jacrev(lambda v: f(v.reshape(at.shape), context).reshape(-1))(at.reshape(-1))

    z, log_det = transform.forward_and_log_det(x, context)
    return log_det, jacobian(transform.forward, x), jacobian(transform.inverse, z)


@jax.jit
def gradients_and_outputs(transform, x, context):
    def total(transform, x):
        z, log_det = transform.forward_and_log_det(x, context)
        return (z.sum() + log_det.sum()), (z, log_det)

    return nnx.grad(total, argnums=(0, 1), has_aux=True)(transform, x)


def test_round_trip(name, x64):
    transform = build(name, jnp.float64)
    x = 2 * events(transform, BATCH, dtype=jnp.float64)
    context = context_for(transform, BATCH, dtype=jnp.float64, ignored=2)
    z, log_det, back, inverse_log_det = jitted(transform, x, context)
    chex.assert_shape(z, (*BATCH, *transform.latent_shape))
    chex.assert_shape([log_det, inverse_log_det], BATCH)
    assert {a.dtype for a in (z, log_det, back, inverse_log_det)} == {jnp.dtype(float)}
    np.testing.assert_allclose(back, x, atol=1e-8)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-8)


def test_log_det_is_that_of_the_jacobian(name, x64):
    transform = build(name, jnp.float64)
    if np.prod(transform.latent_shape) > np.prod(transform.event_shape):
        pytest.skip("An injection of more dimensions has no square Jacobian.")
    x, context = events(transform, dtype=jnp.float64), context_for(transform, dtype=jnp.float64)
    log_det, jacobian, inverse_jacobian = jacobians(transform, x, context)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(inverse_jacobian @ jacobian, np.eye(x.size), atol=1e-7)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 30.0, 1e4])
def test_extreme_inputs_stay_finite(name, scale):
    transform = build(name)
    x = scale * np.sign(events(transform, (4,)))
    gradients, outputs = gradients_and_outputs(transform, x, context_for(transform, (4,)))
    chex.assert_tree_all_finite((jax.tree.leaves(gradients), outputs))


def test_dtype_is_kept(name, x64):
    """Single precision where double is the default; double is that of the round trip."""
    transform = build(name, jnp.float32)
    x, context = events(transform, (3,)), context_for(transform, (3,))
    outputs = jax.eval_shape(there_and_back, transform, x, context)
    assert [a.dtype for a in outputs] == [jnp.float32] * 4


def test_jit_vmap_and_loop_agree(name, x64):
    transform = build(name, jnp.float64)
    x = events(transform, BATCH, dtype=jnp.float64)
    context = context_for(transform, BATCH, dtype=jnp.float64, ignored=2)
    batch = jitted(transform, x, context)
    loop = [jitted(transform, x[i], context[i]) for i in np.ndindex(BATCH)]
    stacked = jax.tree.map(lambda *a: np.stack(a).reshape(BATCH + a[0].shape), *loop)
    for other in (mapped(transform, x, context), stacked):
        chex.assert_trees_all_close(other[:2], batch[:2], atol=1e-12, rtol=1e-12)
        chex.assert_trees_all_close(other[2:], batch[2:], atol=1e-8, rtol=1e-8)


def event_and_context(transform, **options):
    x = events(transform, dtype=jnp.float64)
    return x, context_for(transform, dtype=jnp.float64, ignored=2, **options)


def test_is_a_plain_pytree(name, x64):
    transform = build(name, jnp.float64)
    leaves, structure = jax.tree.flatten(transform)
    rebuilt = jax.tree.unflatten(structure, leaves)
    assert hash(structure) == hash(jax.tree.structure(rebuilt))
    x, context = event_and_context(transform)
    chex.assert_trees_all_equal(jitted(rebuilt, x, context), jitted(transform, x, context))


def test_state_saves_and_loads(name, x64):
    trained, fresh = build(name, jnp.float64), build(name, jnp.float64, perturb=False)
    x, context = event_and_context(trained)
    nnx.update(fresh, nnx.to_pure_dict(nnx.state(trained)))
    chex.assert_trees_all_equal(jitted(fresh, x, context), jitted(trained, x, context))


def test_context_changes_the_result_only_where_there_is_one(name, x64):
    transform = build(name, jnp.float64)
    x, context = event_and_context(transform)
    _, other = event_and_context(transform, seed=4)
    z, moved = jitted(transform, x, context)[0], jitted(transform, x, other)[0]
    assert bool(np.any(z != moved)) == bool(getattr(transform, "context_size", 0))


def test_a_missing_or_wrong_context_is_refused(name):
    transform = build(name)
    x, size = events(transform, (2,)), getattr(transform, "context_size", 0)
    z = jnp.zeros((2, *transform.latent_shape))
    for context in (None, np.ones((2, size + 1), np.float32)) if size else ():
        for function, a in (
            (transform.forward_and_log_det, x),
            (transform.inverse_and_log_det, z),
        ):
            with pytest.raises(ValueError, match=rf"context.*expected \[..., {size}\]"):
                function(a, context)


def test_wrong_shape_is_refused(name):
    transform = build(name)
    wrong = np.zeros((2, *transform.event_shape[:-1], transform.event_shape[-1] + 1), np.float32)
    with pytest.raises(ValueError, match="expected"):
        transform.forward_and_log_det(wrong, context_for(transform, (2,)))
