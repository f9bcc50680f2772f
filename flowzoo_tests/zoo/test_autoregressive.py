"""The recipes of the Gaussian and of the autoregressive models."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import flowzoo
from flowzoo.context import Features, Labels
from flowzoo.transforms import BatchNorm, MaskedAutoregressive, Reverse
from flowzoo_tests.perturb import perturbed

SMALL = {
    "gaussian": dict(),
    "made": dict(hidden_sizes=(6, 6), residual=True),
    "made_mog": dict(hidden_sizes=(6,), num_components=2),
    "maf": dict(num_layers=2, hidden_sizes=(6,), degrees="random"),
    "maf_mog": dict(num_layers=1, num_components=2, hidden_sizes=(6,), activation="tanh"),
}


def build(name, dim=3, context=None, **options):
    config = {"name": name, **SMALL[name], **options}
    return flowzoo.build(config, (dim,), context=context, rngs=nnx.Rngs(0))


CASES = [(name, context) for name in SMALL for context in (None, Labels(2))]
CASES.append(("gaussian", Features(2)))


@pytest.mark.parametrize("name, context", CASES, ids=str)
def test_density_and_samples(name, context):
    flow = perturbed(build(name, context=context))
    contexts = {
        type(None): [None, None],
        Labels: [jnp.array([0] * 4), jnp.array([1] * 4)],
        Features: [jnp.zeros((4, 2)), jnp.ones((4, 2))],
    }[type(context)]

    @jax.jit
    def sample(flow, context):
        x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (5,), context)
        return x, log_prob, flow.log_prob(x, context)

    x, log_prob, again = sample(flow, contexts[0])
    assert x.shape == ((5, 3) if context is None else (5, 4, 3))
    np.testing.assert_allclose(log_prob, again, rtol=1e-3, atol=1e-3)
    assert bool(jnp.all(sample(flow, contexts[1])[0] != x)) == (context is not None)


def test_published_stack():
    layers = list(build("maf").transform.transforms)
    assert [type(layer) for layer in layers] == [MaskedAutoregressive, BatchNorm, Reverse] * 2
    assert len(build("maf", batch_norm=False).transform.transforms) == 4


@pytest.mark.parametrize("name", SMALL)
def test_images_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name} got event_shape \(2, 2\), expected \(D,\)"):
        flowzoo.build({"name": name}, (2, 2), rngs=nnx.Rngs(0))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="maf got num_layers 0, expected at least 1"):
        build("maf", num_layers=0)
    with pytest.raises(ValueError, match="shrinkage 2, expected"):
        build("gaussian", shrinkage=2)


def gaussian_data(seed, n=400):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=3)).astype("f")


def fitted_log_density(x):
    return scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x)


def test_standardised_models_do_not_depend_on_the_units():
    x = np.random.default_rng(0).normal(3, 2, (50, 3)).astype(np.float32)
    log_probs = []
    for scale in (1, 10):
        flow = build("made_mog", standardize=True)
        flow.initialize(scale * x)
        log_probs.append(flow.log_prob(scale * x) + 3 * np.log(scale))
    np.testing.assert_allclose(*log_probs, atol=1e-4)


def test_gaussian_is_fitted_in_closed_form():
    x = gaussian_data(0)
    flow = build("gaussian", shrinkage=0.0)
    flow.initialize(x)
    np.testing.assert_allclose(flow.log_prob(x), fitted_log_density(x), rtol=1e-4, atol=1e-4)


def test_each_class_has_its_gaussian():
    parts = [gaussian_data(1, 300), gaussian_data(2, 500)]
    labels = np.repeat([0, 1], [300, 500])
    flow = build("gaussian", context=Labels(2), shrinkage=0.0)
    flow.initialize(np.concatenate(parts), labels)
    expected = np.concatenate([fitted_log_density(part) for part in parts])
    actual = flow.log_prob(np.concatenate(parts), labels)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no row of class 1"):
        flow.initialize(parts[0], labels[:300])


def test_mean_is_linear_in_features():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 2)).astype("f") + 3
    noise = gaussian_data(3)
    x = noise + features @ np.array([[1, -2, 0.5], [0, 3, 1]], "f")
    flow = build("gaussian", context=Features(2), shrinkage=0.0)
    flow.initialize(x, features)
    design = np.column_stack([features, np.ones(400)])
    residual = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    np.testing.assert_allclose(
        flow.log_prob(x, features), fitted_log_density(residual), rtol=1e-3, atol=1e-3
    )
