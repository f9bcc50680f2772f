"""TarFlow: what no transform's own test can see."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Labels
from flowzoo.numerics.smooth import bounded_log_scale
from flowzoo.transforms import RationalQuadraticSpline, TransformerAutoregressive, guided

MODEL = dict(
    name="tarflow",
    image_shape=(4, 8, 1),
    patch_size=2,
    num_flows=2,
    num_layers=1,
    width=8,
    num_heads=2,
)


def build(context=None, **options):
    flow = flowzoo.build(MODEL | options, (32,), context=context, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    state = nnx.state(flow, nnx.Param)
    nnx.update(flow, jax.tree.map(lambda a: a + 0.2 * rng.normal(size=a.shape), state))
    return flow


def test_both_ways_of_sampling_agree_with_the_density():
    labels = np.array([0, 1, 2, 1])
    samples = []
    for method in ("sequential", "fixed_point"):
        flow = build(Labels(3), inverse_method=method)
        x, log_prob = jax.jit(flow.sample_and_log_prob)(jax.random.key(0), (), labels)
        np.testing.assert_allclose(flow.log_prob(x, labels), log_prob, rtol=1e-3)
        samples.append(x)
    np.testing.assert_allclose(*samples, atol=1e-3)


def test_a_guided_flow_goes_beyond_what_the_label_changes():
    flow = build(Labels(3), num_flows=1)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 32)), jnp.float32)
    labels = np.array([2, 0, 1])
    context, step = flow.encode_context(labels), flow.transform.transforms[-1]
    contexts = jnp.stack([context, jnp.zeros_like(context)])
    given, without = jax.jit(jax.vmap(step.net, (None, 0)))(x, contexts)
    mean, log_scale = jnp.moveaxis(without + 2.5 * (given - without), -2, 0)
    log_scale = bounded_log_scale(log_scale)
    step = guided(flow, 1.5).transform.transforms[-1]
    z, log_det = step.forward_and_log_det(x, context)
    np.testing.assert_allclose(z, (x - mean) * jnp.exp(-log_scale), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_det, -log_scale.sum(-1), rtol=1e-4, atol=1e-4)
    for step.inverse_method in ("sequential", "fixed_point"):
        inverse = jax.jit(lambda step: step.inverse(z, context))
        np.testing.assert_allclose(inverse(step), x, atol=1e-3)


@pytest.mark.parametrize("context", [None, Labels(3)])
def test_guidance_needs_labels_and_an_autoregressive_layer(context):
    flow = flowzoo.build("gaussian", (32,), context=context, rngs=0) if context else build()
    with pytest.raises(ValueError, match="without an autoregressive layer that sees labels"):
        guided(flow, 1.0)


def test_a_map_of_each_pixel_comes_first():
    first = build(pixel_map={"name": "spline", "num_bins": 4}).transform.transforms[0]
    assert isinstance(first, RationalQuadraticSpline) and first.event_shape == (32,)


def test_a_patch_is_mapped_by_those_before_it():
    """A patch is a token, and depends on all tokens before it, of itself number by number."""
    flow = build(num_flows=1)
    x = jnp.asarray(np.random.default_rng(1).normal(size=32), jnp.float32)
    jacobian = np.asarray(jax.jit(jax.jacobian(flow.transform.forward))(x)).reshape(8, 4, 4, 8)
    patches = jacobian.reshape(8, 4, 2, 2, 4, 2).any((1, 3, 5))  # token, row, column
    seen = patches.reshape(8, 8)
    np.testing.assert_array_equal(seen, np.tril(np.ones((8, 8), bool)))
    for token in range(8):
        row, column = 2 * (token // 4), 2 * (token % 4)
        own = jacobian[token, :, row : row + 2, column : column + 2].reshape(4, 4)
        np.testing.assert_allclose(own, np.diag(np.diag(own)), atol=1e-6)


def test_every_second_step_may_take_coarse_images_as_tokens():
    flow = build(num_flows=4, interleaved=True)
    x, seen = jnp.arange(32.0), []
    for layer in flow.transform.transforms:
        if isinstance(layer, TransformerAutoregressive):
            seen.append(x.reshape(layer.net.num_tokens, -1))
        else:
            x = layer.forward(x)
    image = np.arange(32).reshape(4, 8)
    np.testing.assert_array_equal(seen[0][1], image[:2, 2:4].ravel())
    for token, (row, column) in enumerate(np.ndindex(2, 2)):
        np.testing.assert_array_equal(seen[1][token], image[row::2, column::2].ravel())
    for first, second in ((0, 2), (1, 3)):
        np.testing.assert_array_equal(seen[second], seen[first][::-1, ::-1])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patch_size": 3}, "power of two that divides"),
        ({"patch_size": 8}, "power of two that divides"),
        ({"num_flows": 0}, "expected at least 1"),
        ({"num_heads": 3}, "heads that divide the width"),
        ({"inverse_method": "newton"}, "expected one of sequential"),
    ],
)
def test_what_does_not_fit_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(**options)


def test_tokens_divide_the_numbers():
    with pytest.raises(ValueError, match="expected a divisor of 6"):
        TransformerAutoregressive(6, num_tokens=4, rngs=nnx.Rngs(0))
