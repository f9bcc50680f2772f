from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo import bases
from flowzoo.context import Labels
from flowzoo.transforms import Dense, LearnedTanhMix, RationalQuadraticSpline, Stack, Whiten
from flowzoo.zoo.relative_gradient import FIXED, LEARNED, STACK_FROM
from flowzoo_tests.perturb import perturbed


def build(context=None, **options):
    options = {"name": "relative_gradient", "num_layers": 2} | options
    return flowzoo.build(options, (3,), context=context, rngs=nnx.Rngs(0))


def skewed(n=4000):
    """Dependent coordinates whose marginals are far from normal."""
    mixing = np.array([[1, 0.8, 0], [0, 1, 0.5], [0, 0, 1]])
    return np.exp(np.random.default_rng(0).normal(size=(n, 3)) @ mixing).astype(np.float32)


@pytest.mark.parametrize("activation", FIXED + LEARNED)
def test_sampling_inverts_the_density_for_each_activation_and_class(activation):
    options = dict(activation=activation, radial_groups=(1, 3), divisive=2, num_bins=4)
    flow = perturbed(build(Labels(2), **options))
    labels = np.array([0, 1, 1])
    x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (), labels)
    np.testing.assert_allclose(flow.log_prob(x, labels), log_prob, atol=1e-3)
    assert np.all(flow.log_prob(x, labels) != flow.log_prob(x, 1 - labels))


@pytest.mark.parametrize("activation", ["spline", "mixture_cdf"])
def test_a_gaussian_copula_is_fitted_before_the_first_step(activation):
    x, unseen = np.split(skewed(), 2)
    options = dict(activation=activation, whiten=True, init="identity")
    likelihood = {}
    for gaussianize in (True, False):
        flow = build(gaussianize=gaussianize, **options)
        flow.initialize(x)
        likelihood[gaussianize] = float(flow.log_prob(unseen).mean())
    gaussian = Whiten(3)
    gaussian.initialize(x)
    reference = flowzoo.Flow(bases.StandardNormal((3,)), gaussian).log_prob(unseen).mean()
    assert likelihood[True] > float(reference) + 1
    assert likelihood[True] > likelihood[False] + 1


def test_deep_stacks_are_scanned_and_start_from_data():
    flow = build(activation="spline", num_layers=STACK_FROM, num_bins=4, whiten=True)
    assert isinstance(flow.transform.transforms[-1], Stack)
    flow.initialize(skewed())
    assert np.all(np.isfinite(flow.log_prob(skewed(10))))


def test_the_outermost_maps_may_be_others_than_the_inner_ones():
    flow = build(
        activation="learned_tanh_mix", outer_activation="spline", num_layers=STACK_FROM + 1
    )
    first, *_, stack, dense, last = flow.transform.transforms
    assert isinstance(first, RationalQuadraticSpline) and isinstance(last, RationalQuadraticSpline)
    assert isinstance(stack, Stack) and len(stack) == STACK_FROM and isinstance(dense, Dense)
    assert any(isinstance(t, LearnedTanhMix) for t in stack.layers.transforms)


@pytest.mark.parametrize("num_layers", [1, 3])
def test_a_small_gain_starts_the_tanh_mix_at_the_whitening(num_layers):
    options = dict(activation="tanh_mix", beta=0.3, whiten=True, init="identity")
    x = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    latents, log_dets = {}, {}
    for gain in (1.0, 1e-3):
        flow = build(gain=gain, num_layers=num_layers, **options)
        flow.initialize(x)
        latents[gain], log_dets[gain] = flow.transform.forward_and_log_det(x)
    # Where it is linear, its log-determinant is the same at all points.
    assert np.ptp(log_dets[1e-3]) < 1e-2
    assert num_layers == 1 or np.ptp(log_dets[1.0]) > 1
    np.testing.assert_allclose(np.cov(latents[1e-3], rowvar=False), np.eye(3), atol=0.05)


@pytest.mark.parametrize(
    "option",
    [
        {"activation": "relu"},
        {"base": "cauchy"},
        {"num_layers": 0},
        {"divisive": 3},
        {"gain": 0.0},
        {"beta": 0.5},  # of the smooth leaky ReLU
        {"outer_activation": "tanh_mix"},
        {"outer_activation": "spline"},  # around a fixed activation
    ],
)
def test_unknown_options_are_refused(option):
    with pytest.raises(ValueError, match="expected"):
        build(**option)
