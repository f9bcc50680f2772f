import warnings

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo import bases, transforms
from flowzoo.raw_flow import RawFlow
from flowzoo_tests.perturb import perturbed


@pytest.fixture(scope="module")
def images():
    flow = flowzoo.build({"name": "gaussian"}, (4,), rngs=nnx.Rngs(0))
    preprocessing = transforms.Chain(
        [transforms.Affine((4,), scale=256.0), transforms.Logit((4,), alpha=0.01)]
    )
    return RawFlow(flow, preprocessing, levels=256)


def test_images_on_another_scale_are_reported(images):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4))
    with pytest.warns(UserWarning, match=r"images scaled to \[0, 1\].* pass integers"):
        images.log_prob((pixels / 255.0).astype(np.float32))
    with warnings.catch_warnings(action="error"):
        images.log_prob(pixels)
        images.log_prob(pixels + np.float32(0.5))
        # Inside a program values are not known.
        jax.jit(images.log_prob)(np.zeros((5, 4), np.float32))


@pytest.mark.parametrize("value", [-1, 256, 10_000])
def test_levels_out_of_range_are_refused(images, value):
    pixels = np.array([[0, 255, 3, value]])
    with pytest.raises(ValueError, match=f"{value}.*expected levels 0 … 255"):
        images.log_prob(pixels)
    with pytest.raises(ValueError, match=r"expected levels plus noise, in \[0, 256\]"):
        images.log_prob(pixels.astype(np.float32) + 0.5)
    with pytest.raises(ValueError, match="values between nan"):
        images.log_prob(np.full((1, 4), np.nan, np.float32))


@pytest.mark.parametrize("raw", [False, True])
def test_sample_shapes(images, raw):
    flow = images if raw else images.flow
    key = jax.random.key(0)
    np.testing.assert_array_equal(flow.sample(key, 5), flow.sample(key, (5,)))
    assert flow.sample(key, (0,)).shape == (0, 4)
    assert flow.sample_and_log_prob(key, (2, 0))[1].shape == (2, 0)
    for shape in (-1, (2, -1), 2.5, "5"):
        with pytest.raises(ValueError, match="sample got sample_shape .*expected a number"):
            flow.sample(key, shape)


def test_batches_without_an_event(images):
    assert images.log_prob(np.zeros((0, 4), np.uint8)).shape == (0,)
    assert images.sample(jax.random.key(0), (3, 0)).dtype == np.uint8


def test_noise_is_taken_out_of_draws_before_they_become_levels(images):
    key, noise_std = jax.random.key(3), 0.6
    denoised = images.flow.denoise(images.flow.sample(key, (50,)), noise_std)
    levels = np.clip(np.floor(images.preprocessing.inverse(denoised)), 0, 255)
    np.testing.assert_array_equal(images.sample(key, (50,), noise_std=noise_std), levels)
    assert np.abs(images.sample(key, (50,)) - levels).max() > 10


def extrapolating(layers, scale=3.0):
    """A flow whose layers blow numbers up in the direction of samples, on levels 0 … 255."""
    flow = flowzoo.Flow(bases.StandardNormal((4,)), transforms.Chain(layers))
    flow = perturbed(flow, scale=scale)
    preprocessing = transforms.Chain(
        [transforms.Affine((4,), scale=256.0), transforms.Logit((4,), alpha=1e-6)]
    )
    return RawFlow(flow, preprocessing, levels=256)


@pytest.mark.parametrize(
    "layers",
    [
        lambda rngs: [
            transforms.AffineCoupling(mask, hidden_sizes=(8,), rngs=rngs)
            for mask in ([0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1])
        ],
        lambda rngs: [
            transforms.Reshape((4,), (2, 2, 1)),
            transforms.CheckerboardCoupling((2, 2, 1), hidden_channels=4, num_blocks=1, rngs=rngs),
            transforms.Reshape((2, 2, 1), (4,)),
        ],
        lambda rngs: [
            transforms.MaskedAutoregressive(4, hidden_sizes=(8,), rngs=rngs),
            transforms.Reverse(4),
            transforms.MaskedAutoregressive(4, hidden_sizes=(8,), rngs=rngs),
        ],
    ],
)
def test_samples_of_levels_stay_in_reach_where_networks_extrapolate(layers):
    model, key = extrapolating(layers(nnx.Rngs(0))), jax.random.key(1)
    reach = 1.5 * np.log(1e6 - 1)
    bounded = transforms.with_modes(model.flow, inverse_bound=reach)
    wild, kept = model.flow.sample(key, (500,)), bounded.sample(key, (500,))
    assert float(np.abs(wild).max()) > 1e3
    assert float(np.abs(kept).max()) < 1.001 * reach
    expected = np.clip(np.floor(model.preprocessing.inverse(kept)), 0, 255)
    np.testing.assert_array_equal(model.sample(key, (500,)), expected)
    np.testing.assert_array_equal(bounded.log_prob(kept), model.flow.log_prob(kept))


def test_the_bound_of_samples_does_not_touch_what_stays_in_reach():
    layers = [transforms.MaskedAutoregressive(4, hidden_sizes=(8,), rngs=nnx.Rngs(0))]
    model = extrapolating(layers, scale=0.2)
    wild = model.flow.sample(jax.random.key(0), (200,))
    kept = transforms.with_modes(model.flow, inverse_bound=20.0).sample(jax.random.key(0), (200,))
    assert float(np.abs(wild).max()) < 20
    np.testing.assert_allclose(kept, wild, rtol=1e-5, atol=1e-6)
    levels = np.clip(np.floor(model.preprocessing.inverse(wild)), 0, 255)
    np.testing.assert_array_equal(model.sample(jax.random.key(0), (200,)), levels)
