import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.raw_flow import on_raw_data
from flowzoo.training.load import load_run
from flowzoo.transforms import RationalQuadraticSpline

GAUSSIAN = {"name": "gaussian"}


def test_a_gaussian_is_fitted_on_the_scale_of_the_data():
    rng = np.random.default_rng(0)
    mix = np.array([[2.0, 0.0], [30.0, 40.0]])
    data = rng.normal(size=(20_000, 2)) @ mix.T + np.array([500.0, -3.0])
    flow = flowzoo.fit(data, GAUSSIAN, num_epochs=0, batch_size=1000)
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
    flow = flowzoo.fit(images.astype(np.uint8), GAUSSIAN, labels=labels, levels=8, num_epochs=0)
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
        (np.ones((9, 0)), {}, "expected at least one feature"),
        (4 * np.eye(9, dtype=int), {"levels": 4}, "expected integers 0 … 3"),
        (np.eye(9), {"levels": 2}, "expected integers 0 … 1"),
        (np.where(np.eye(9) == 1, np.nan, 0), {}, "nan in row 0"),
        (np.ones((9, 2)), {}, r"feature \[0\].* is the same in all rows"),
        (np.eye(9), {"validation": 1.0}, "expected a part of the data"),
        (np.eye(9), {"labels": np.zeros(8, int)}, "one for each row"),
        (np.eye(9), {"labels": np.resize([-1, 1], 9)}, "label -1, expected integers from 0 on"),
        (np.eye(9), {"support": "positive"}, "expected positive numbers"),
        (np.eye(9), {"support": "unit"}, "expected real or positive, or a list"),
        (np.eye(9), {"support": ["real"] * 8}, "supports of 8 coordinates and data of shape"),
        (
            np.eye(2),
            {"support": ["real", "unit"]},
            r"from the feature \[1\].*support 1 is 'unit', expected numbers between 0 and 1",
        ),
        (np.eye(2) / 2, {"support": [{"name": "simplex", "size": 2}]}, "expected positive parts"),
        (np.eye(9), {"batch_size": 0}, "fit got batch_size 0, expected a whole number from 1 on"),
        (np.eye(9), {"num_epochs": 2.5}, "fit got num_epochs 2.5"),
        (np.eye(9), {"patience": 0}, "fit got patience 0"),
        (np.eye(9), {"seed": -1}, "fit got seed -1"),
        (np.eye(9), {"learning_rate": -1e-3}, "fit got learning_rate -0.001"),
        (np.eye(9), {"learning_rate": np.nan}, "fit got learning_rate nan"),
        (np.eye(9), {"learning_rate": "fast"}, "fit got learning_rate 'fast'"),
        (np.eye(9), {"model": 3}, "model of type int, expected the name"),
        (
            np.eye(9),
            {"model": {"name": "fully_connected_learned", "inner": RationalQuadraticSpline}},
            "give maps as records",
        ),
        (np.eye(9), {"workdir": ""}, "empty workdir"),
        (np.eye(9), {"model": {"name": "mfa"}}, "Did you mean 'maf'"),
    ],
)
def test_wrong_arguments_are_refused_in_sentences(data, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        flowzoo.fit(data, **options)


def test_what_float32_cannot_hold_is_fitted_and_comes_back():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(1000, 1))
    flow = flowzoo.fit(1e8 + normal, GAUSSIAN, num_epochs=1)
    x = flow.sample(jax.random.key(0), 1000)
    assert isinstance(x, np.ndarray) and x.dtype == np.float64 and len(np.unique(x)) == 1000
    np.testing.assert_allclose([x.mean() - 1e8, x.std()], [0, 1], atol=0.15)
    expected = -0.5 * normal[:, 0] ** 2 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(flow.log_prob(1e8 + normal), expected, atol=0.3)
    again, log_prob = flow.sample_and_log_prob(jax.random.key(0), 1000)
    np.testing.assert_allclose(again, x, rtol=1e-14)  # Another program.
    np.testing.assert_allclose(flow.log_prob(x), log_prob, atol=1e-4)
    inside = jax.jit(lambda flow, key: flow.sample(key, (10,)))(flow, jax.random.key(0))
    assert inside.dtype == jnp.float32
    single = flowzoo.fit(normal.astype(np.float32), GAUSSIAN, num_epochs=1)
    assert single.sample(jax.random.key(0), 3).dtype == jnp.float32


def test_supports_hold_samples_and_the_density_is_of_the_data_s_own_numbers(tmp_path):
    rng = np.random.default_rng(0)
    parts = rng.dirichlet([2.0, 3.0, 4.0], 500)[:, :2]
    angles = np.mod(math.pi + 0.4 * rng.normal(size=(500, 1)) + math.pi, 2 * math.pi) - math.pi
    data = np.concatenate([rng.exponential(size=(500, 1)), parts, angles, rng.random((500, 1))], 1)
    support = ["positive", {"name": "simplex", "size": 2}, "angle"]
    support.append({"name": "interval", "low": -0.1, "high": 1.1})
    flow = flowzoo.fit(data, GAUSSIAN, support=support, num_epochs=0, workdir=tmp_path)
    x = flow.sample(jax.random.key(0), 2000)
    assert np.all(x[:, :3] > 0) and np.all(x[:, 1:3].sum(-1) < 1)
    assert np.all((x[:, 3] >= -math.pi) & (x[:, 3] < math.pi))
    assert np.all((x[:, 4] > -0.1) & (x[:, 4] < 1.1))
    # The angles lie around ±π, where they would be two groups.
    assert abs(np.abs(x[:, 3]).mean() - np.abs(data[:, 3]).mean()) < 0.05
    circle = flowzoo.fit(data[:, 3:4], GAUSSIAN, support=["angle"], num_epochs=0)
    grid = (np.arange(2000) + 0.5)[:, None] / 2000 * 2 * math.pi
    assert abs(np.exp(circle.log_prob(grid)).mean() * 2 * math.pi - 1) < 1e-3
    loaded = flowzoo.load_pretrained(flowzoo.save_pretrained(flow, tmp_path / "mine"))
    np.testing.assert_allclose(loaded.log_prob(x[:5]), flow.log_prob(x[:5]), rtol=1e-6)
    again = on_raw_data(*load_run(tmp_path)[:2])
    np.testing.assert_allclose(again.log_prob(x[:5]), flow.log_prob(x[:5]), rtol=1e-6)


def test_a_saved_fit_keeps_its_precision(tmp_path):
    seconds = 1.7e9 + np.random.default_rng(0).random((500, 2))
    flow = flowzoo.fit(seconds, GAUSSIAN, num_epochs=1)
    x = flow.sample(jax.random.key(0), 100)
    flowzoo.save(flow, tmp_path / "one")
    for loaded in (
        flowzoo.load(tmp_path / "one"),
        flowzoo.load_pretrained(flowzoo.save_pretrained(flow, tmp_path / "folder")),
    ):
        np.testing.assert_array_equal(loaded.sample(jax.random.key(0), 100), x)
        np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


def test_few_rows_are_fitted_in_as_many_steps_as_many_rows():
    data = np.random.default_rng(0).normal(size=(400, 1)) ** 3
    with pytest.warns(UserWarning, match="far outside the rest"):
        flow = flowzoo.fit(data, "gaussian", patience=10_000)
    assert flow.card["training"]["epochs"] == 1000


def test_two_tight_classes_are_not_widened():
    rng = np.random.default_rng(0)
    data = np.sign(rng.normal(size=(400, 1))) + 0.01 * rng.normal(size=(400, 1))
    strays = []
    for seed in range(3):
        with pytest.warns(UserWarning, match="fall into groups"):
            flow = flowzoo.fit(data, seed=seed)
        x = flow.sample(jax.random.key(0), 20_000)
        off = x - np.sign(x)
        strays.append(np.mean(np.abs(off) > 0.05))
        low, high = np.percentile(off, [16, 84])
        assert (high - low) / 2 < 0.013
    # Of a single fit it is 0.002 to 0.03, as rounding has it.
    assert np.median(strays) < 0.01


def test_a_workdir_reopens_as_a_run(tmp_path):
    data = 1e6 + np.random.default_rng(0).normal(size=(100, 2))
    flow = flowzoo.fit(data, "gaussian", num_epochs=1, workdir=tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    again, dataset, config = load_run(tmp_path / "moved")
    raw = on_raw_data(again, dataset)
    np.testing.assert_array_equal(raw.log_prob(data), flow.log_prob(data))
    assert config.model.name == "gaussian" and len(dataset.train) == 90
    assert again.recipe is not None


def test_the_command_lines_open_a_workdir_of_fit(call, tmp_path):
    data = 1e6 + np.random.default_rng(0).normal(size=(100, 2))
    flowzoo.fit(data, "gaussian", num_epochs=0, workdir="run")
    assert call("evaluate", "--workdir=run").stdout.startswith("array-")
    assert call("sample", "--workdir=run").code == 0
    x = np.load("samples.npy")
    assert x.dtype == np.float64 and abs(x.mean() - 1e6) < 1


def test_a_diverged_fit_speaks_of_its_own_arguments():
    data = np.random.default_rng(0).normal(size=(300, 4))
    with pytest.raises(FloatingPointError, match="learning_rate= of fit.*it was 1000000000"):
        flowzoo.fit(data, "maf", num_epochs=5, learning_rate=1e9)
