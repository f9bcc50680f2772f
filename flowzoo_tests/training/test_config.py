import runpy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo.data.dataset import Dataset, Split
from flowzoo.training.config import check_config, choose, default_config
from flowzoo.training.loop import Run
from flowzoo.training.optimizer import make_optimizer, make_schedule
from flowzoo.transforms import Affine
from flowzoo_tests.training.small import MODEL, small_config


def test_the_argument_names_model_and_flags_in_any_order():
    models = {"a": dict(batch_size=3), "b": dict(batch_size=5)}
    assert choose("", models).batch_size == 3
    config = choose("conditional,b,smoke", models)
    assert (config.batch_size, config.conditional, config.num_epochs) == (5, True, 1)
    models["b"]["smoke"] = dict(dataset=dict(limit=7))
    assert choose("b,smoke", models).dataset.limit == 7
    assert choose("b", models).dataset.limit == 0
    models["b"]["short"] = dict(num_epochs=4)
    assert choose("b,short", models).num_epochs == 4
    assert choose("b,short,smoke", models).num_epochs == 1
    with pytest.raises(ValueError, match="flag short, which a has not"):
        choose("a,short", models)
    with pytest.raises(ValueError, match="'c', expected one of the models a, b"):
        choose("c", models)
    with pytest.raises(ValueError, match="expected one model"):
        choose("a,b", models)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("batch_size", 0, "at least 1"),
        ("batch_size", 101, "only 100 training"),
        ("batch_size", 12, "does not divide over 8 devices"),
        ("num_epochs", 0, "at least 1"),
        ("gradient", "natural", "expected one of relative"),
        ("parameter_average", 1.0, r"\[0, 1\)"),
    ],
)
def test_numbers_that_cannot_be_meant(key, value, sentence):
    config = default_config()
    config.batch_size = 8
    config[key] = value
    with pytest.raises(ValueError, match=sentence):
        check_config(config, num_train=100, num_devices=8)


def test_a_conditional_run_needs_labels():
    x = np.zeros((40, 2), np.float32)
    split = Split(x)
    dataset = Dataset(
        name="bare", train=split, validation=split, test=split, preprocessing=Affine((2,))
    )
    config = small_config(conditional=True, batch_size=8)
    with pytest.raises(ValueError, match="bare has no labels"):
        Run(config, dataset)


def test_data_that_are_not_finite_name_split_and_row():
    x = np.zeros((40, 2), np.float32)
    bad = x.copy()
    bad[7, 1] = np.nan
    with pytest.raises(ValueError, match="validation split of bare holds nan in row 7"):
        Dataset(
            name="bare",
            train=Split(x),
            validation=Split(bad),
            test=Split(x),
            preprocessing=Affine((2,)),
        )


def optimizer_config(**keys):
    config = default_config().optimizer
    config.update(keys)
    return config


def test_schedules():
    constant = make_schedule(optimizer_config(learning_rate=0.5), 10)
    cosine = make_schedule(optimizer_config(learning_rate=0.5, schedule="cosine"), 10)
    warm = make_schedule(optimizer_config(learning_rate=0.5, schedule="cosine", warmup_steps=2), 12)
    assert constant(7) == 0.5
    np.testing.assert_allclose([cosine(0), cosine(5), cosine(10)], [0.5, 0.25, 0.0], atol=1e-7)
    np.testing.assert_allclose([warm(0), warm(1), warm(2), warm(12)], [0, 0.25, 0.5, 0], atol=1e-7)
    with pytest.raises(ValueError, match="expected constant or cosine"):
        make_schedule(optimizer_config(schedule="stairs"), 10)


def updates_of(config, params, gradients):
    optimizer = make_optimizer(config, 10)
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def test_momentum_clipping_and_selected_decay():
    params = {"net": {"kernel": jnp.full(2, 3.0), "bias": jnp.full(2, 3.0)}}
    gradients = jax.tree.map(lambda a: jnp.full(2, 2.0), params)
    config = optimizer_config(name="sgd", learning_rate=0.1, weight_decay=0.5)
    updates = updates_of(config, params, gradients)["net"]
    np.testing.assert_allclose(updates["kernel"], -0.1 * (2 + 0.5 * 3), rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], -0.1 * 2, rtol=1e-6)
    clipped = updates_of(
        optimizer_config(name="sgd", learning_rate=0.1, clip_norm=1.0), params, gradients
    )
    np.testing.assert_allclose(optax.global_norm(clipped), 0.1, rtol=1e-6)
    penalised = updates_of(
        optimizer_config(name="sgd", learning_rate=1.0, l2=0.5), params, gradients
    )["net"]
    np.testing.assert_allclose(penalised["kernel"], -(2 + 0.5 * 3), rtol=1e-6)
    with pytest.raises(ValueError, match="expected adam, sgd, relative_muon"):
        make_optimizer(optimizer_config(name="lion"), 10)


@pytest.mark.parametrize("name", ["digits", "mnist", "toy"])
def test_shipped_configs_hold_only_known_keys(name, request):
    path = request.config.rootpath / "configs" / f"{name}.py"
    config = runpy.run_path(str(path))["get_config"]("smoke")
    assert config.num_epochs == 1 and config.dataset.limit > 0
    assert set(config) == set(default_config())
    assert "name" in config.model and MODEL


def test_trust_region_bounds_what_any_optimizer_does_to_the_dense_layers():
    params = {"dense": {"weight": 2 * jnp.eye(2)}, "net": jnp.ones(2)}
    gradients = {"dense": {"weight": jnp.ones((2, 2))}, "net": jnp.ones(2)}
    config = optimizer_config(learning_rate=100.0, trust_region=0.25)
    optimizer = make_optimizer(config, 10, {"dense/weight": 1.0})
    steps, _ = optimizer.update(gradients, optimizer.init(params), params)
    assert 0.24 < np.linalg.norm(steps["dense"]["weight"] / 2) <= 0.25
    np.testing.assert_allclose(steps["net"], -100, rtol=1e-3)
