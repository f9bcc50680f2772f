import warnings

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo import transforms
from flowzoo.raw_flow import RawFlow


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
