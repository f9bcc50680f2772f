"""The parallel multiscale flow: what no transform's own test can see."""

import itertools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import flowzoo
from flowzoo.context import Labels
from flowzoo.numerics import logistic_levels
from flowzoo.transforms.image.parallel_multiscale import choose_bins

MODEL = dict(
    name="parallel_multiscale", num_scales=1, hidden_channels=3, num_blocks=1, hidden_sizes=(5,)
)


def build(image_shape=(2, 2, 1), context=None, **options):
    model = MODEL | dict(image_shape=image_shape, alpha=0.05) | options
    flow = flowzoo.build(model, (int(np.prod(image_shape)),), context=context, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    state = nnx.state(flow, nnx.Param)
    nnx.update(flow, jax.tree.map(lambda a: a + 0.3 * rng.normal(size=a.shape), state))
    return flow


def logit(x, alpha=0.05):
    p = alpha + (1 - 2 * alpha) * x
    return np.log(p / (1 - p)), np.log((1 - 2 * alpha) / (p * (1 - p)))


@pytest.mark.parametrize(
    ("image_shape", "options"),
    [
        ((2, 2, 1), dict(levels=4, num_bins=3)),
        ((2, 1, 3), dict(levels=3, num_bins=2)),
        ((2, 2, 1), dict(levels=4, num_bins=3, num_components=2)),
    ],
)
def test_the_probabilities_of_all_images_sum_to_one(image_shape, options):
    flow = build(image_shape, num_scales=int(image_shape[1] == 2), **options)
    levels, dim = options["levels"], int(np.prod(image_shape))
    images = np.array(list(itertools.product(range(levels), repeat=dim)))
    rng = np.random.default_rng(1)
    z, log_slope = logit((images + rng.uniform(0.05, 0.95, images.shape)) / levels)
    log_prob = flow.log_prob(jnp.asarray(z, jnp.float32)) + log_slope.sum(-1)
    total = np.exp(np.asarray(log_prob, float)).sum() / levels**dim
    np.testing.assert_allclose(total, 1, rtol=1e-4)


def test_it_starts_at_the_histogram_of_the_training_levels():
    model = MODEL | dict(image_shape=(2, 2, 1), alpha=0.05, levels=8, num_bins=3)
    flow = flowzoo.build(model, (4,), rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    k = rng.choice(8, size=(600, 4), p=[0.6, 0.02, 0.03, 0.05, 0.1, 0.1, 0.05, 0.05])
    z, log_slope = logit((k + rng.uniform(0.05, 0.95, k.shape)) / 8)
    z = jnp.asarray(z, jnp.float32)
    flow.initialize(z)
    masses = (np.bincount(k.ravel()) + 1) / (k.size + 8)
    expected = (np.log(8 * masses[k]) - log_slope).sum(-1)
    # The output layer of the masked network starts small, and not at zero.
    np.testing.assert_allclose(flow.log_prob(z), expected, atol=0.05)


def test_a_pixel_is_mapped_by_those_known_before_it():
    transform = build((4, 4, 1), levels=5, num_bins=4).transform
    x = np.random.default_rng(1).uniform(size=(4, 4, 1))

    def latent(x):
        return np.asarray(transform.forward(jnp.asarray(logit(x)[0].ravel(), jnp.float32)))

    def depends_on(row, column):
        """The pixels whose latents change with the level of one pixel."""
        other = x.copy()
        other[row, column] = (other[row, column] + 0.5) % 1
        return {tuple(map(int, i)) for i in np.argwhere((latent(x) != latent(other)).reshape(4, 4))}

    last = {(1, 1), (1, 3), (3, 1), (3, 3)}
    others = {(r, c) for r in range(4) for c in range(4) if (r + c) % 2}
    assert depends_on(0, 1) == {(0, 1)}
    assert {(1, 1)} < depends_on(1, 1) <= {(1, 1)} | others
    assert {(0, 0), (1, 1), (0, 1)} < depends_on(0, 0) and depends_on(2, 2) <= (
        {(2, 2)} | last | others
    )


def test_rounding_takes_no_pixel_out_of_the_density():
    """Brightest and darkest pixels, at which the probabilities of all bins add up."""
    flow = build((4, 4, 1), levels=64, num_bins=33)
    rng = np.random.default_rng(0)
    state = nnx.state(flow, nnx.Param)
    nnx.update(flow, jax.tree.map(lambda a: a + 3 * rng.normal(size=a.shape), state))
    ends = np.where(rng.uniform(size=(2000, 16)) < 0.5, 0.0, 1.0)
    z = jnp.asarray(logit(ends)[0], jnp.float32)
    assert np.isfinite(flow.log_prob(z)).all()


def test_samples_have_the_density_that_they_were_drawn_with():
    flow = build((4, 4, 3), Labels(3), levels=5, num_bins=4)
    labels = np.array([0, 1, 2, 1])
    x, log_prob = jax.jit(flow.sample_and_log_prob)(jax.random.key(0), (), labels)
    np.testing.assert_allclose(flow.log_prob(x, labels), log_prob, rtol=1e-4)


def test_logistics_are_exact_where_their_distribution_function_rounds():
    """A narrow component far from the level, in float32, against sums in float64."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(40, 6)) * [1, 1, 0.5, 0.5, 1, 1] + [0, 0, 0, 0, -4, -3]
    level = rng.integers(256, size=40)
    log_weights = y[:, :2] - np.log(np.exp(y[:, :2]).sum(-1, keepdims=True))
    edges = np.stack([level, level + 1]) / 128 - 1
    edges[0, level == 0], edges[1, level == 255] = -np.inf, np.inf
    t = (edges[..., None] - y[:, 2:4]) * np.exp(-y[:, 4:])
    # The difference of the nearer tails, which do not round to one.
    tails = scipy.special.expit(np.where(t.sum(0) > 0, -t, t))
    expected = np.log((np.exp(log_weights) * np.abs(tails[1] - tails[0])).sum(-1))
    assert expected.min() < -30
    _, log_slope = logistic_levels.evaluate(
        jnp.asarray((level + 0.5) / 256, jnp.float32), level, jnp.asarray(y, jnp.float32), 256
    )
    np.testing.assert_allclose(log_slope - np.log(256), expected, rtol=1e-4)


def test_the_density_is_zero_beyond_the_range_of_pixels():
    flow = build(levels=4, num_bins=2)
    ends = logit(np.array([0.0, 1.0]))[0]
    z = jnp.asarray(np.tile(ends[:, None], 4), jnp.float32)
    assert np.isfinite(flow.log_prob(z)).all()
    assert np.isneginf(flow.log_prob(1.05 * z)).all()


@pytest.mark.parametrize(
    ("masses", "num_bins", "expected"),
    [
        ([0.8, 0.05, 0.05, 0.05, 0.05], 3, [0, 1, 1, 2, 2]),
        ([0.25, 0.25, 0.25, 0.25], 4, [0, 1, 2, 3]),
        ([0.01, 0.01, 0.01, 0.97], 3, [0, 0, 1, 2]),
        ([0.97, 0.01, 0.01, 0.01], 2, [0, 1, 1, 1]),
    ],
)
def test_frequent_levels_have_bins_of_their_own(masses, num_bins, expected):
    np.testing.assert_array_equal(choose_bins(np.array(masses), num_bins), expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_scales": 2}, "halve at each of them"),
        ({"num_bins": 1}, "at least 2 bins"),
        ({"num_bins": 9, "levels": 8}, "no more than levels"),
        ({"num_components": -1}, "num_components -1, expected at least 0"),
        ({"image_shape": (4, 4, 1)}, "H W C = D"),
    ],
)
def test_what_does_not_fit_is_refused(options, sentence):
    model = MODEL | dict(image_shape=(2, 2, 1)) | options
    with pytest.raises(ValueError, match=sentence):
        flowzoo.build(model, (4,), rngs=nnx.Rngs(0))
