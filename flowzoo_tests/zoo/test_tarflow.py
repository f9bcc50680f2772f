"""TarFlow: what no transform's own test can see."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Labels
from flowzoo.transforms import TransformerAutoregressive

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
