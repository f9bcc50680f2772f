"""The convolutional flow: what no transform's own test can see."""

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Labels
from flowzoo.transforms import PeriodicConv, ZeroPaddedConv, with_modes

MODEL = dict(name="convolutional", image_shape=(8, 4, 1), num_blocks=2, num_layers=2)


def build(context=None, **options):
    return flowzoo.build(MODEL | options, (32,), context=context, rngs=nnx.Rngs(0))


def test_samples_have_the_density_that_they_were_drawn_with():
    flow = build(Labels(3))
    flow.initialize(np.random.default_rng(0).gamma(2.0, size=(300, 32)), np.arange(300) % 3)
    labels = np.array([0, 1, 2, 1])
    x, log_prob = jax.jit(flow.sample_and_log_prob)(jax.random.key(0), (), labels)
    np.testing.assert_allclose(flow.log_prob(x, labels), log_prob, rtol=1e-3)


def test_the_relative_rule_reaches_every_convolution_and_nothing_else():
    flow = build()
    x = np.random.default_rng(0).normal(size=(10, 32)).astype(np.float32)

    def gradient(rule):
        ruled = with_modes(flow, gradient_rule=rule)
        return jax.jit(nnx.grad(lambda flow: -flow.log_prob(x).mean()))(ruled)

    differing = [
        jax.tree_util.keystr(path)
        for (path, a), (_, b) in zip(
            *(jax.tree_util.tree_leaves_with_path(gradient(r)) for r in ("relative", "ordinary")),
            strict=True,
        )
        if not np.allclose(a, b, rtol=1e-3, atol=1e-5)
    ]
    layers = [m for _, m in nnx.iter_modules(flow) if isinstance(m, PeriodicConv)]
    assert len(layers) == len(differing) == 4 and all("kernel" in path for path in differing)


def test_zeros_around_the_image():
    layers = build(padding="zeros").transform.transforms
    assert sum(isinstance(layer, ZeroPaddedConv) for layer in layers) == 4
    assert not any(isinstance(layer, PeriodicConv) for layer in layers)
    with pytest.raises(ValueError, match="kernel_size 5 with zeros .* expected 3"):
        build(padding="zeros", kernel_size=5)


@pytest.mark.parametrize("options", [{"num_blocks": 4}, {"num_layers": 0}])
def test_blocks_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError, match="halve between blocks"):
        build(**options)
