import dataclasses

import chex
import jax
from jax.sharding import Mesh
import numpy as np
import optax
import pytest

from flowzoo.context import Labels
from flowzoo.data import Split
from flowzoo.numerics.named_arrays import to_arrays
from flowzoo.reporting.results import gaussian_reference
from flowzoo.training.devices import DATA, MODEL
from flowzoo.training.evaluation import make_log_probs, summarize
from flowzoo.training.loop import Run, load_data
from flowzoo.training.state import merge
from flowzoo.training.step import make_batch, update_norm
from flowzoo_tests.training.small import small_config


def run_on(num_devices: int, **keys) -> Run:
    config = small_config(**keys)
    mesh = Mesh(np.array(jax.devices()[:num_devices])[:, None], (DATA, MODEL))
    return Run(config, load_data(config), mesh)


def after(run: Run, steps: int):
    state = run.start()
    for epoch in range(0, -(-steps // run.steps_per_epoch)):
        order = run.shuffle(state.key, epoch)
        stop = min(steps, (epoch + 1) * run.steps_per_epoch)
        state, report = run.run_steps(state, run.x, run.labels, order, np.int32(stop))
        assert report.failed_step == -1 and np.isfinite(report.parameter_norm)
    return state, report


@pytest.mark.parametrize(
    ("gradient", "batch_size", "used"),
    [("relative", 16, 8), ("relative_optax", 16, 8), ("relative", 20, 5)],
)
def test_many_devices_train_as_one(gradient, batch_size, used):
    keys = dict(gradient=gradient, batch_size=batch_size)
    run = Run(config := small_config(**keys), load_data(config))
    # As many of the eight as divide the batch.
    assert run.mesh.size == used
    one, report = after(run_on(1, **keys), 40)
    many, reports = after(run, 40)
    assert int(many.step) == 40
    leaves = (jax.tree.leaves(state.variables.params) for state in (one, many))
    for a, b in zip(*leaves, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        error = np.linalg.norm(a - b) / np.linalg.norm(a)
        assert error < 1e-5
    chex.assert_trees_all_close(*jax.device_get((report, reports)), rtol=1e-3)


def test_relative_and_optax_take_the_same_steps():
    fused, _ = after(run_on(1, gradient="relative"), 20)
    chained, _ = after(run_on(1, gradient="relative_optax"), 20)
    chex.assert_trees_all_close(
        fused.variables.params, chained.variables.params, rtol=1e-3, atol=1e-5
    )
    ordinary, _ = after(run_on(1, gradient="ordinary"), 20)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(
            fused.variables.params, ordinary.variables.params, rtol=1e-3, atol=1e-5
        )


def compiled_step(gradient: str) -> str:
    run = run_on(1, gradient=gradient)
    state = run.start()
    order = run.shuffle(state.key, 0)
    lowered = run.run_steps.lower(state, run.x, run.labels, order, np.int32(5))
    return lowered.compile().as_text()


@pytest.mark.parametrize("gradient", ["relative", "relative_optax", "transposed"])
def test_no_factorisation_is_left_in_the_step(gradient):
    assert "getrf" not in compiled_step(gradient)


def test_the_ordinary_step_does_factor():
    assert "getrf" in compiled_step("ordinary")


def test_steps_do_not_depend_on_how_many_a_dispatch_takes():
    run = run_on(1)
    whole, _ = after(run, 10)
    state = run.start()
    order = run.shuffle(state.key, 0)
    for stop in (1, 4, 10):
        state, _ = run.run_steps(state, run.x, run.labels, order, np.int32(stop))
    chex.assert_trees_all_equal(to_arrays(state), to_arrays(whole))


def test_training_raises_the_likelihood():
    run = run_on(1)
    state = run.start()
    log_probs = make_log_probs(run.mesh)
    before = float(log_probs(merge(run.graph, state.variables), *run.seen).mean())
    state, _ = after(run, 200)
    assert float(log_probs(merge(run.graph, state.variables), *run.seen).mean()) > before + 0.5


def test_norms_are_those_of_the_last_step():
    run = run_on(1, optimizer=dict(name="sgd", learning_rate=1e-3, momentum=0.0))
    state = run.start()
    order = run.shuffle(state.key, 0)
    for stop in (4, 5):
        before = jax.tree.map(np.array, state.variables.params)
        state, report = run.run_steps(state, run.x, run.labels, order, np.int32(stop))
    after = state.variables.params
    np.testing.assert_allclose(report.parameter_norm, optax.global_norm(after), rtol=1e-6)
    np.testing.assert_allclose(update_norm(before, after), 1e-3 * report.gradient_norm, rtol=1e-3)


@pytest.mark.parametrize(
    ("precision", "mark"),
    [("float32", "HIGHEST"), ("tensorfloat32", "HIGH,"), ("bfloat16", "lhs_precision_type = bf16")],
)
def test_the_precision_of_products_is_the_configs(precision, mark):
    run = run_on(1, matmul_precision=precision)
    state = run.start()
    order = run.shuffle(state.key, 0)
    program = run.run_steps.lower(state, run.x, run.labels, order, np.int32(5)).as_text()
    # Two layers of three products each, and those with the biases.
    assert program.count(mark) >= 6


def test_a_diverging_step_is_named():
    run = run_on(1, optimizer=dict(name="sgd", learning_rate=1e6))
    state = run.start()
    order = run.shuffle(state.key, 0)
    state, report = run.run_steps(state, run.x, run.labels, order, np.int32(25))
    assert 0 < int(report.failed_step) < 25
    assert int(state.step) == int(report.failed_step) + 1


def test_noise_is_fresh_each_epoch_and_the_same_for_the_same_row():
    run = run_on(1)
    key = jax.random.key_data(jax.random.key(0))
    rows = np.array([3, 1, 4])
    first, again, next_epoch = (
        make_batch(run.dataset, run.x, None, r, key, epoch).x
        for r, epoch in ((rows, 0), (rows[::-1], 0), (rows, 1))
    )
    np.testing.assert_array_equal(first, again[::-1])
    assert np.all(np.any(first != next_epoch, axis=1))
    levels = run.dataset.preprocessing.inverse(first)
    np.testing.assert_array_equal(np.floor(levels + 1e-4), run.dataset.train.x[rows])


def test_gaussian_noise_is_added_in_model_space():
    run, key, rows = run_on(1), jax.random.key_data(jax.random.key(0)), np.arange(400)

    def batch(rows=rows, **options):
        return make_batch(run.dataset, run.x, None, rows, key, 0, **options).x

    noise = np.asarray(batch(noise_std=0.5) - batch())
    np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.5], atol=0.01)
    correlation = np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]
    assert abs(correlation) < 0.2 and np.abs(noise[0] - noise[1]).max() > 0.5
    np.testing.assert_array_equal(batch(rows[::-1], noise_std=0.5)[::-1], batch(noise_std=0.5))


def test_some_labels_are_left_out():
    run, key, rows = run_on(1), jax.random.key_data(jax.random.key(0)), np.arange(400)
    labels = run.dataset.train.labels
    for share in (0.0, 0.25):
        seen = make_batch(run.dataset, run.x, labels, rows, key, 0, label_dropout=share).labels
        kept = np.asarray(seen) >= 0
        assert abs((~kept).mean() - share) < 0.07
        np.testing.assert_array_equal(seen[kept], labels[kept])
    # What the network is shown of them, in the compiled step.
    np.testing.assert_array_equal(jax.jit(Labels(10).encode)(seen)[~kept], 0)
    with pytest.raises(ValueError, match=r"label_dropout is 0\.1 and config\.conditional is not"):
        run_on(1, label_dropout=0.1)


def test_flips_mirror_whole_images():
    run = run_on(1)
    dataset = load_data(small_config())
    flipping = dataclasses.replace(dataset, augmentation="mirror", dequantize=False)
    key, rows = jax.random.key_data(jax.random.key(0)), np.arange(64)
    x = flipping.preprocessing.inverse(make_batch(flipping, run.x, None, rows, key, 0).x)
    images, originals = (
        np.asarray(a, np.float64).reshape(-1, 8, 8) for a in (x, dataset.train.x[:64])
    )
    mirrored = np.abs(images - originals[:, :, ::-1]).max((1, 2)) < 1e-3
    kept = np.abs(images - originals).max((1, 2)) < 1e-3
    assert np.all(mirrored | kept) and 10 < mirrored.sum() < 54


def test_what_is_fitted_in_closed_form_sees_the_mirror_images_too():
    dataset = load_data(small_config()).first(130)
    flipping = dataclasses.replace(dataset, augmentation="mirror", dequantize=False)
    x, labels = flipping.seen_in_training(jax.random.key(3))
    levels = flipping.preprocessing.inverse(x).reshape(2, 130, 8, 8)
    # Each row twice, once as it is and once mirrored.
    as_they_are = np.concatenate([levels[0, ::2], levels[1, 1::2]]).reshape(130, 64)
    rows = np.concatenate([dataset.train.x[::2], dataset.train.x[1::2]])
    np.testing.assert_allclose(as_they_are, rows, atol=1e-3)
    np.testing.assert_allclose(levels[1], levels[0, :, :, ::-1], atol=1e-3)
    np.testing.assert_array_equal(labels, np.tile(dataset.train.labels, 2))


def test_neither_the_start_nor_the_gaussian_knows_left_from_right():
    config = small_config()
    dataset = dataclasses.replace(load_data(config), augmentation="mirror", dequantize=False)
    run = Run(config, dataset)
    mean = merge(run.graph, run.start().variables).transform.transforms[0].mean[...].reshape(8, 8)
    np.testing.assert_allclose(mean, mean[:, ::-1], atol=1e-5)
    images = dataset.test.x.reshape(-1, 8, 8)[:, :, ::-1]
    mirrored = dataclasses.replace(dataset, test=Split(images.reshape(-1, 64)))
    assert gaussian_reference(mirrored) == pytest.approx(gaussian_reference(dataset), abs=1e-2)


def test_the_epoch_order_visits_every_row_once():
    run = run_on(1)
    orders = [np.asarray(run.shuffle(jax.random.key_data(jax.random.key(0)), e)) for e in (0, 1)]
    for order in orders:
        assert sorted(order.ravel()) == list(range(400))
    assert np.any(orders[0] != orders[1])


def test_parameter_average_follows_the_parameters():
    run = run_on(1, parameter_average=0.9, num_epochs=1)
    state = run.start()
    average = jax.device_get(state.variables.params)
    order = run.shuffle(state.key, 0)
    for step in range(3):
        state, _ = run.run_steps(state, run.x, run.labels, order, np.int32(step + 1))
        decay = min(0.9, (1 + step) / (10 + step))
        params = jax.device_get(state.variables.params)
        average = optax.incremental_update(params, average, 1 - decay)
    chex.assert_trees_all_close(jax.device_get(state.average), average, atol=1e-6)


def test_log_probs_over_devices_are_those_of_one_call():
    run = run_on(8)
    flow = merge(run.graph, run.start().variables)
    x = run.unseen[0][:37]
    np.testing.assert_allclose(make_log_probs(run.mesh)(flow, x, None), flow.log_prob(x), rtol=1e-4)


def test_summary():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    mean, two_standard_errors = summarize(values)
    assert mean == 2.5
    np.testing.assert_allclose(two_standard_errors, 2 * values.std(ddof=1) / 2)
