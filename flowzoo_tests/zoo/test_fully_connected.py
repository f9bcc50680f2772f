"""The two fully connected recipes, and records of maps."""

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo import bases, zoo
from flowzoo.context import Labels
from flowzoo.transforms import (
    Affine,
    Dense,
    LearnedTanhMix,
    RationalQuadraticSpline,
    Stack,
    Whiten,
)
from flowzoo.zoo.fully_connected_learned import STACK_FROM
from flowzoo.zoo.maps import FIXED, LEARNED
from flowzoo_tests.perturb import perturbed

ACROSS = dict(
    after_dense=("radial", {"name": "radial", "num_groups": 3}, "divisive_normalization"),
    after_map=({"name": "divisive_normalization", "reverse": True},),
)


def build(context=None, **options):
    return flowzoo.build(options, (3,), context=context, rngs=nnx.Rngs(0))


def fixed(context=None, **options):
    return build(context, name="fully_connected", **options)


def learned(context=None, **options):
    return build(context, name="fully_connected_learned", **dict(num_layers=2) | options)


def skewed(n=4000):
    """Dependent coordinates whose marginals are far from normal."""
    mixing = np.array([[1, 0.8, 0], [0, 1, 0.5], [0, 0, 1]])
    return np.exp(np.random.default_rng(0).normal(size=(n, 3)) @ mixing).astype(np.float32)


@pytest.mark.parametrize("name", [*FIXED, *LEARNED])
def test_sampling_inverts_the_density_for_each_map_and_class(name):
    labelled = Labels(2)
    make = fixed(labelled, nonlinearity=name) if name in FIXED else None
    flow = perturbed(make or learned(labelled, inner=name, whiten=False, **ACROSS))
    labels = np.array([0, 1, 1])
    x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (), labels)
    np.testing.assert_allclose(flow.log_prob(x, labels), log_prob, atol=1e-3)
    assert np.all(flow.log_prob(x, labels) != flow.log_prob(x, 1 - labels))


@pytest.mark.parametrize("name", ["spline", "mixture_cdf"])
def test_a_gaussian_copula_is_fitted_before_the_first_step(name):
    x, unseen = np.split(skewed(), 2)
    likelihood = {}
    for init in ("quantiles", "identity"):
        flow = learned(inner={"name": name, "init": init})
        flow.initialize(x)
        likelihood[init] = float(flow.log_prob(unseen).mean())
    gaussian = Whiten(3)
    gaussian.initialize(x)
    reference = flowzoo.Flow(bases.StandardNormal((3,)), gaussian).log_prob(unseen).mean()
    assert likelihood["quantiles"] > float(reference) + 1
    assert likelihood["quantiles"] > likelihood["identity"] + 1


def test_deep_stacks_are_scanned_and_start_from_data():
    flow = learned(num_layers=STACK_FROM, inner={"name": "spline", "num_bins": 4})
    assert isinstance(flow.transform.transforms[-1], Stack)
    flow.initialize(skewed())
    assert np.all(np.isfinite(flow.log_prob(skewed(10))))


def test_the_outermost_maps_may_be_others_than_the_inner_ones():
    flow = learned(
        inner="learned_tanh_mix", outer="spline", num_layers=STACK_FROM + 1, whiten=False
    )
    first, *_, stack, dense, last = flow.transform.transforms
    assert isinstance(first, RationalQuadraticSpline) and isinstance(last, RationalQuadraticSpline)
    assert isinstance(stack, Stack) and len(stack) == STACK_FROM and isinstance(dense, Dense)
    assert any(isinstance(t, LearnedTanhMix) for t in stack.layers.transforms)


def test_a_map_may_be_a_callable():
    flow = fixed(nonlinearity=lambda shape: Affine(shape, scale=2.0))
    before, middle, after = flow.transform.transforms
    x = skewed(5)
    np.testing.assert_array_equal(flow.transform.forward(x), after.forward(before.forward(x) / 2))
    assert isinstance(middle, Affine)


@pytest.mark.parametrize("num_layers", [2, 3])
def test_a_small_gain_starts_the_tanh_mix_at_the_whitening(num_layers):
    mix = {"name": "tanh_mix", "beta": 0.3}
    x = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    latents, log_dets = {}, {}
    for gain in (1.0, 1e-3):
        flow = fixed(
            gain=gain, num_layers=num_layers, nonlinearity=mix, whiten=True, init="identity"
        )
        flow.initialize(x)
        latents[gain], log_dets[gain] = flow.transform.forward_and_log_det(x)
    # Where it is linear, its log-determinant is the same at all points.
    assert np.ptp(log_dets[1e-3]) < 1e-2 and np.ptp(log_dets[1.0]) > 1
    np.testing.assert_allclose(np.cov(latents[1e-3], rowvar=False), np.eye(3), atol=0.05)


def test_a_complete_record_says_everything_and_builds_the_same():
    record = zoo.complete(
        {"name": "fully_connected_learned", "after_dense": ["radial"], "outer": "mixture_cdf"}
    )
    assert record["inner"] == dict(name="spline", num_bins=16, bound=6.0, init="quantiles")
    assert record["outer"] == dict(name="mixture_cdf", num_components=16, init="quantiles")
    (radial,) = record["after_dense"]
    assert radial == dict(name="radial", num_groups=1, num_bins=16, bound=6.0, init="quantiles")
    assert zoo.complete(record) == record and record["standardize"] is False


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (fixed, {"nonlinearity": "relu"}, "map for nonlinearity 'relu'.*smooth_leaky_relu"),
        (fixed, {"nonlinearity": "spline"}, "map for nonlinearity 'spline'"),
        (
            fixed,
            {"nonlinearity": {"name": "smooth_leaky_relu", "beta": 0.5}},
            "Unknown option of nonlinearity, a smooth_leaky_relu, 'beta'",
        ),
        (
            fixed,
            {"nonlinearity": {"name": "tanh_mix", "alhpa": 0.5}},
            "Did you mean 'alpha'",
        ),
        (fixed, {"base": "cauchy"}, "base 'cauchy', expected one of standard_normal"),
        (fixed, {"base": "logistics"}, "Did you mean 'logistic'"),
        (fixed, {"num_layers": 0}, "num_layers 0, expected at least 1"),
        (fixed, {"num_layers": "two"}, "num_layers 'two', expected a whole number such as 2"),
        (fixed, {"num_layers": True}, "num_layers True, expected a whole number"),
        (fixed, {"whiten": 1}, "whiten 1, expected True or False"),
        (fixed, {"gain": 0.0}, "gain 0.0, expected a positive number"),
        (fixed, {"gain": 0.5, "num_layers": 1}, "gain 0.5 with one layer, where it has no effect"),
        (fixed, {"inner": "spline"}, "Unknown option of fully_connected 'inner'"),
        (learned, {"inner": "tanh_mix"}, "map for inner 'tanh_mix'. Did you mean 'learned_tanh"),
        (learned, {"inner": {"name": "learned_tanh_mix", "num_bins": 8}}, "'num_bins'"),
        (learned, {"inner": {"num_bins": 8}}, "map for inner None"),
        (learned, {"after_dense": "radial"}, "expected a sequence of such maps"),
        (learned, {"after_dense": ["spline"]}, "map for after_dense 'spline'"),
        (
            learned,
            {"num_layers": 1, "inner": "mixture_cdf", "outer": "spline"},
            "with one layer, where all maps are outer ones",
        ),
    ],
)
def test_what_is_unknown_or_without_effect_is_refused(make, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**options)


def test_a_name_alone_is_a_model():
    flow = flowzoo.build("maf", (3,), rngs=nnx.Rngs(0))
    assert flow.event_shape == (3,)
    with pytest.raises(ValueError, match="Unknown model 'mafs'. Did you mean 'maf'"):
        flowzoo.build("mafs", (3,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="real_nvp_image needs the option image_shape"):
        flowzoo.build("real_nvp_image", (3,), rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", zoo.RECIPES)
def test_every_recipe_documents_every_option(name):
    text = zoo.RECIPES[name].__doc__
    arguments = text.partition("Args:")[2].partition("Raises:")[0]
    missing = [key for key in zoo.defaults(name) if key not in arguments and key != "standardize"]
    assert not missing
    assert "arXiv" in text or "`maf`" in text or "`made`" in text
