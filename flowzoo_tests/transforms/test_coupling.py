"""Affine couplings: what each part of an event may see, and the published stack."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo import transforms as T
from flowzoo.context import Features, Labels
from flowzoo.numerics.smooth import LOG_SCALE_BOUND
from flowzoo_tests.perturb import perturbed

MASK = np.array([1, 0, 0, 1, 1, 0, 1])
MASKS = [MASK, T.alternating_mask(7, 0), T.alternating_mask(7, 1), T.alternating_mask(4, 1)]


def coupling(mask=MASK, **options):
    return perturbed(T.AffineCoupling(mask, hidden_sizes=(16,), rngs=nnx.Rngs(0), **options))


def real_nvp(dim=3, context=None, **options):
    config = {"name": "real_nvp", "num_layers": 3, "hidden_sizes": (8,), **options}
    return perturbed(flowzoo.build(config, (dim,), context=context, rngs=nnx.Rngs(0)))


@jax.jit
def forward_and_log_det(layer, x, context=None):
    return layer.forward_and_log_det(x, context)


@pytest.mark.parametrize("mask", MASKS)
def test_jacobian_has_the_zero_pattern_of_the_mask(mask):
    layer = coupling(mask)
    x = jax.random.normal(jax.random.key(0), (20, mask.size))
    jacobian = jax.jit(lambda f, x: jax.vmap(jax.jacfwd(f.forward))(x))(layer, x)
    expected = np.eye(mask.size, dtype=bool) | ((mask == 0)[:, None] & (mask == 1))
    np.testing.assert_array_equal(np.any(jacobian != 0, 0), expected)
    kept = mask == 1
    np.testing.assert_array_equal(forward_and_log_det(layer, x)[0][:, kept], x[:, kept])


def test_starts_at_the_identity():
    layer = T.AffineCoupling(MASK, hidden_sizes=(16,), rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (5, MASK.size))
    z, log_det = forward_and_log_det(layer, x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, 0)


def test_log_scales_are_bounded():
    layer = coupling()
    layer.scale_net.output_bias[...] = jnp.full(3, 1e6)
    log_det = forward_and_log_det(layer, jnp.zeros(MASK.size))[1]
    np.testing.assert_allclose(log_det, 3 * LOG_SCALE_BOUND, rtol=1e-6)


def test_a_batch_of_contexts_meets_one_event():
    layer = coupling(context_size=2)
    x = jax.random.normal(jax.random.key(0), (4, 1, MASK.size))
    context = jax.random.normal(jax.random.key(1), (3, 2))
    z, log_det = forward_and_log_det(layer, x, context)
    assert z.shape == (4, 3, MASK.size) and log_det.shape == (4, 3)
    one, one_log_det = forward_and_log_det(layer, x[2, 0], context[1])
    np.testing.assert_allclose(z[2, 1], one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_det[2, 1], one_log_det, rtol=1e-5, atol=1e-6)


def test_real_nvp_sees_every_pair_of_coordinates():
    flow = real_nvp(dim=5)
    jacobian = jax.jit(lambda f, x: jax.jacfwd(f.forward)(x))(
        flow.transform, jnp.linspace(-1, 1, 5)
    )
    assert np.all(jacobian != 0)


@pytest.mark.parametrize("context", [Labels(3), Features(2)])
def test_conditional_real_nvp(context):
    flow = real_nvp(context=context)
    raw = jnp.array([0, 2]) if isinstance(context, Labels) else jnp.array([[0.0, 1.0], [2.0, -1.0]])
    draw = jax.jit(lambda f, key, c: f.sample_and_log_prob(key, (4,), c))
    x, log_prob = draw(flow, jax.random.key(0), raw)
    assert x.shape == (4, 2, 3)
    score = jax.jit(lambda f, x, c: f.log_prob(x, c))
    np.testing.assert_allclose(log_prob, score(flow, x, raw), rtol=1e-4, atol=1e-4)
    assert np.all(np.abs(log_prob - score(flow, x, raw[::-1])) > 1e-4)


def test_bad_input_is_told_what_was_expected():
    for mask in ([1, 1], [0, 0], [0.5, 1]):
        with pytest.raises(ValueError, match="zeros and ones, at least one of each"):
            coupling(np.array(mask))
    with pytest.raises(ValueError, match="activation is 'elu'"):
        coupling(scale_activation="elu")
    with pytest.raises(ValueError, match="positive numbers"):
        real_nvp(hidden_sizes=())
    with pytest.raises(ValueError, match="D >= 2"):
        real_nvp(dim=1)
    layer = coupling(context_size=2)
    for context in (None, jnp.zeros((4, 3))):
        with pytest.raises(ValueError, match="context_size 2"):
            layer.forward(jnp.zeros((4, MASK.size)), context)
    flow = real_nvp(context=Labels(3))
    with pytest.raises(ValueError, match="the label 3"):
        flow.log_prob(jnp.zeros((2, 3)), jnp.array([0, 3]))
    with pytest.raises(ValueError, match="floating-point features"):
        real_nvp(context=Features(2)).log_prob(jnp.zeros((2, 3)), jnp.zeros((2, 2), int))
    with pytest.raises(ValueError, match="unconditional"):
        real_nvp().log_prob(jnp.zeros((2, 3)), jnp.zeros(2, int))
