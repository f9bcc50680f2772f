import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo

GAUSSIAN = {"name": "gaussian"}


def test_a_gaussian_is_fitted_on_the_scale_of_the_data():
    rng = np.random.default_rng(0)
    mix = np.array([[2.0, 0.0], [30.0, 40.0]])
    data = rng.normal(size=(20_000, 2)) @ mix.T + np.array([500.0, -3.0])
    flow = flowzoo.fit(data, GAUSSIAN, num_epochs=1, batch_size=1000, learning_rate=0.0)
    x = data[:10]
    z = np.linalg.solve(mix, (x - np.array([500.0, -3.0])).T).T
    expected = -0.5 * (z**2).sum(-1) - np.log(2 * np.pi) - np.log(80)
    np.testing.assert_allclose(flow.log_prob(x), expected, atol=0.1)
    samples = flow.sample(jax.random.key(0), (20_000,))
    np.testing.assert_allclose(np.cov(samples.T), mix @ mix.T, rtol=0.05)


def test_images_with_labels_become_a_conditional_flow_of_levels(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    images = np.where(labels[:, None, None] == 0, 1, 6) + rng.integers(0, 2, (400, 2, 3))
    flow = flowzoo.fit(
        images.astype(np.uint8), GAUSSIAN, labels=labels, levels=8, num_epochs=1, learning_rate=0.0
    )
    assert flow.event_shape == (2, 3) and flow.image_shape == (2, 3, 1)
    assert flow.levels == 8
    x = images[:2].astype(np.uint8)
    right, wrong = flow.log_prob(x, labels[:2]), flow.log_prob(x, 1 - labels[:2])
    assert np.all(right > wrong + 2)
    samples = flow.sample(jax.random.key(0), (), jnp.array([0] * 50 + [1] * 50))
    assert samples.dtype == jnp.uint8 and samples.shape == (100, 2, 3)
    assert samples[:50].mean() < 3 and samples[50:].mean() > 5
    loaded = flowzoo.load_pretrained(flowzoo.save_pretrained(flow, tmp_path / "mine"))
    np.testing.assert_allclose(loaded.log_prob(x, labels[:2]), right, rtol=1e-6)


def test_a_run_is_repeatable_and_goes_on_only_with_the_same_data(tmp_path):
    data = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    once = flowzoo.fit(data, GAUSSIAN, num_epochs=2, workdir=tmp_path)
    again = flowzoo.fit(data, GAUSSIAN, num_epochs=2)
    np.testing.assert_array_equal(once.log_prob(data), again.log_prob(data))
    assert (tmp_path / "metrics.jsonl").exists()
    with pytest.raises(ValueError, match="another config.*dataset.name"):
        flowzoo.fit(data + 1, GAUSSIAN, num_epochs=2, workdir=tmp_path)


@pytest.mark.parametrize(
    ("data", "options", "sentence"),
    [
        (np.zeros(9), {}, r"expected \[N, \*event_shape\]"),
        (np.eye(9, dtype=int), {}, "pass levels=256"),
        (2 * np.eye(9, dtype=int), {"levels": 2}, "expected integers 0 … 1"),
        (np.eye(9), {"levels": 2}, "expected integers 0 … 1"),
        (np.where(np.eye(9) == 1, np.nan, 0), {}, "nan in row 0"),
        (np.ones((9, 2)), {}, r"feature \[0\].* is the same in all rows"),
        (np.eye(9), {"validation": 1.0}, "expected a part of the data"),
        (np.eye(9), {"labels": np.zeros(8, int)}, "one for each row"),
        (np.eye(9), {"model": {"name": "mfa"}}, "Did you mean 'maf'"),
    ],
)
def test_wrong_arguments_are_refused_in_sentences(data, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        flowzoo.fit(data, **options)
