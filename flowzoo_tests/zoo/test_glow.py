"""Glow: what no transform's own test can see."""

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Labels
from flowzoo.nets.conv import ResidualConvNet
from flowzoo.transforms import ActNorm, RationalQuadraticSpline, with_modes
from flowzoo_tests.perturb import perturbed

MODEL = dict(name="glow", image_shape=(8, 4, 1), num_steps=2, hidden_channels=4, num_blocks=1)


def build(context=None, **options):
    return flowzoo.build(MODEL | options, (32,), context=context, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("coupling", ["affine", "spline"])
@pytest.mark.parametrize("convolution", ["1x1", "periodic", "emerging"])
def test_samples_have_the_density_that_they_were_drawn_with(convolution, coupling):
    flow = build(Labels(3), convolution=convolution, coupling={"name": coupling})
    labels = np.array([0, 1, 2, 1])
    x, log_prob = jax.jit(flow.sample_and_log_prob)(jax.random.key(0), (), labels)
    np.testing.assert_allclose(flow.log_prob(x, labels), log_prob, rtol=1e-4)


def test_activation_norms_start_from_data():
    flow = build()
    x = 5 + 3 * np.random.default_rng(0).normal(size=(500, 32)).astype(np.float32)
    flow.initialize(x)
    norms = [m for _, m in nnx.iter_modules(flow) if isinstance(m, ActNorm)]
    assert len(norms) == 4
    np.testing.assert_allclose(np.asarray(norms[0].shift[...]), -5, atol=0.3)
    z = flow.transform.forward(x)
    np.testing.assert_allclose(np.std(z), 1, atol=0.05)
    np.testing.assert_allclose(np.mean(z), 0, atol=0.05)


def test_networks_may_know_the_place_and_a_map_of_each_pixel_may_come_first():
    flow = build(positions=True, pixel_map={"name": "spline", "num_bins": 4})
    assert isinstance(flow.transform.transforms[0], RationalQuadraticSpline)
    nets = [m for _, m in nnx.iter_modules(flow) if isinstance(m, ResidualConvNet)]
    assert [net.positions.shape for net in nets] == [(4, 2, 4)] * 2 + [(2, 1, 4)] * 2
    assert not any(
        m.positions for _, m in nnx.iter_modules(build()) if isinstance(m, ResidualConvNet)
    )


def test_a_bound_of_the_networks_inputs_leaves_data_alone_and_tames_what_lies_far_out():
    wild, tame = (
        perturbed(build(num_steps=8, input_bound=bound), scale=0.02) for bound in (None, 3.0)
    )
    x = np.random.default_rng(0).normal(size=(20, 32)).astype(np.float32)
    np.testing.assert_allclose(tame.log_prob(x / 10), wild.log_prob(x / 10), rtol=2e-6)
    assert not np.all(np.isfinite(wild.log_prob(10 * x)))
    assert np.all(np.isfinite(tame.log_prob(10 * x)))
    with pytest.raises(ValueError, match="input_bound -1.0, expected a positive number"):
        build(input_bound=-1.0)


def test_the_relative_rule_reaches_every_convolution():
    flow = build(convolution="periodic")
    x = np.random.default_rng(0).normal(size=(10, 32)).astype(np.float32)

    def gradient(rule):
        gradients = nnx.grad(lambda flow: -flow.log_prob(x).mean())(
            with_modes(flow, gradient_rule=rule)
        )
        return jax.tree_util.tree_leaves_with_path(gradients)

    differing = [
        jax.tree_util.keystr(path)
        for (path, a), (_, b) in zip(gradient("ordinary"), gradient("relative"), strict=True)
        if not np.allclose(a, b, atol=1e-6)
    ]
    assert len(differing) == 4 and all("kernel" in name for name in differing)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"coupling": {"name": "afine"}}, "Did you mean 'affine'"),
        ({"coupling": {"name": "affine", "num_bins": 3}}, "Unknown option of affine 'num_bins'"),
        ({"convolution": "3x3"}, "expected one of 1x1, periodic, emerging"),
        ({"num_scales": 3}, "halve at each of them"),
        ({"num_steps": 0}, "expected at least 1"),
        ({"image_shape": (4, 4, 1)}, "H W C = D"),
    ],
)
def test_what_does_not_fit_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(**options)
