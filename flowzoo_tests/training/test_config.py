import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo import zoo
from flowzoo.data.dataset import Dataset, Split
from flowzoo.reporting.results import train_and_evaluate
from flowzoo.training.config import (
    CHECKS,
    changed,
    check_batch,
    choose,
    default_config,
    flatten,
    make_config,
    smoke,
)
from flowzoo.training.evaluation import test_results as score
from flowzoo.training.load import load_run
from flowzoo.training.loop import Run, build_flow, load_data
from flowzoo.training.optimizer import make_optimizer, make_schedule
from flowzoo.training.workdir import load_config
from flowzoo.transforms import Affine
from flowzoo.zoo.parameters import num_parameters
from flowzoo_tests.training.small import small_config


def common(**keys):
    return dict(dataset=dict(name="digits"), model="maf") | keys


def test_the_argument_names_entry_and_flags_in_any_order():
    def choose_(argument):
        return choose(argument, entries, name="x", **common())

    entries = {"a": dict(title="A", batch_size=3), "b": dict(title="B", batch_size=5)}
    assert choose_("").batch_size == 3 and choose_(None).name == "x/a"
    config = choose_("conditional,b,smoke")
    assert (config.batch_size, config.conditional, config.num_epochs) == (5, True, 1)
    assert (config.name, config.title) == ("x/b-conditional-smoke", "B")
    assert config.dataset.limit == 1000 and choose_("b").dataset.limit == 0
    entries["b"]["smoke"] = lambda config: changed(smoke(config), dataset=dict(limit=7))
    assert choose_("b,smoke").dataset.limit == 7
    entries["b"]["short"] = lambda config: changed(config, num_epochs=4)
    assert choose_("b,short").num_epochs == 4
    assert choose_("b,smoke,short").num_epochs == 1
    assert choose_("b,smoke,short").name == "x/b-short-smoke"
    with pytest.raises(ValueError, match="flag short, which a has not"):
        choose_("a,short")
    with pytest.raises(ValueError, match="'shrot', expected one of .*Did you mean 'short'"):
        choose_("a,shrot")
    with pytest.raises(ValueError, match="expected one entry"):
        choose_("a,b")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (dict(pateince=3), "no config key 'pateince'. Did you mean 'patience'"),
        (dict(optimizer=dict(lerning_rate=0.1)), "Did you mean 'optimizer.learning_rate'"),
        (dict(optimizer=3), "config.optimizer is 3, expected keys and their values"),
        (dict(model=dict(name="maf", num_layer=3)), "option of maf 'num_layer'"),
        (dict(model="mav"), "Unknown model 'mav'. Did you mean 'maf'"),
        (dict(dataset=dict(name="")), "dataset.name is '', expected the name of a dataset"),
        (dict(name="../other"), "config.name is '../other', expected a name such as digits/maf5"),
        (dict(title=""), "config.title is '', expected some text"),
        (
            dict(dataset=dict(name="digits", limit=-1)),
            "limit is -1, expected a whole number, at least 0",
        ),
        (dict(conditional="yes"), "conditional is 'yes', expected True or False"),
        (dict(num_parameters=-5), "num_parameters is -5, expected a whole number, at least 0"),
        (dict(gradient="natural"), "expected one of relative"),
        (dict(optimizer=dict(name="lion")), "expected one of adam, sgd"),
        (dict(optimizer=dict(learning_rate=0.0)), "expected a finite number above 0"),
        (dict(optimizer=dict(learning_rate=-1e-3)), "expected a finite number above 0"),
        (dict(optimizer=dict(learning_rate=float("nan"))), "expected a finite number above 0"),
        (dict(optimizer=dict(learning_rate="1e-3")), "expected a finite number above 0"),
        (dict(optimizer=dict(dense_learning_rate=-1.0)), "at least 0, or None"),
        (dict(optimizer=dict(momentum=5)), "momentum is 5, expected a number from 0 to below 1"),
        (dict(optimizer=dict(schedule="stairs")), "expected one of constant, cosine"),
        (dict(optimizer=dict(warmup_steps=-3)), "warmup_steps is -3, expected a whole number"),
        (dict(optimizer=dict(clip_norm=0.0)), "above 0, or None"),
        (dict(optimizer=dict(clip_norm=float("inf"))), "above 0, or None"),
        (dict(optimizer=dict(trust_region=1.0)), "between 0 and 1"),
        (dict(optimizer=dict(l2=-1e-6)), "l2 is -1e-06, expected a finite number, at least 0"),
        (dict(optimizer=dict(weight_decay=-0.1)), "weight_decay is -0.1, expected a finite"),
        (dict(optimizer=dict(decay_pattern="net/(")), "expected a regular expression"),
        (dict(parameter_average=1.0), "expected a number from 0 to below 1"),
        (dict(batch_size=0), "batch_size is 0, expected a whole number, at least 1"),
        (dict(mesh=dict(data=-1)), "mesh.data is -1"),
        (dict(mesh=dict(model=0)), "mesh.model is 0"),
        (dict(matmul_precision="int8"), "is 'int8', expected one of float32"),
        (dict(activations="saved"), "is 'saved', expected one of kept, recomputed"),
        (dict(num_epochs=-1), "num_epochs is -1, expected a whole number, at least 0"),
        (dict(num_epochs=2.5), "num_epochs is 2.5, expected a whole number"),
        (dict(eval_every_epochs=0), "eval_every_epochs is 0"),
        (dict(patience=0), "patience is 0"),
        (dict(patience=True), "patience is True, expected a whole number"),
        (dict(seed=10**30), "seed is 1000.*expected a whole number from 0 to 2"),
        (dict(seed=-1), "seed is -1"),
        (dict(checkpoint_seconds=float("inf")), "checkpoint_seconds is inf"),
    ],
    ids=str,
)
def test_keys_that_do_not_exist_and_values_that_cannot_be_meant(keys, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_config(common(name="x", title="X") | keys)


def test_every_key_has_a_range():
    assert set(CHECKS) | {"model.name"} == set(flatten(default_config().to_dict()))


def test_a_config_is_locked_complete_and_may_be_made_again():
    config = make_config(common(name="x", title="X"))
    assert config.is_locked and config.model.num_layers == 5
    with pytest.raises(AttributeError):
        config.pateince = 3
    assert make_config(json.loads(json.dumps(config.to_dict()))).model.hidden_sizes == [512]
    assert changed(config, model=dict(num_layers=2)).model.num_layers == 2
    assert changed(config, model="gaussian").model.to_dict() == zoo.complete("gaussian")


def test_the_number_of_parameters_is_resolved_before_the_config_is_saved(tmp_path):
    maf = dict(name="maf", hidden_sizes=(512, 512), num_layers=1)
    config = small_config(model=maf, num_parameters=20_000, num_epochs=0)
    results = train_and_evaluate(config, tmp_path)
    saved = load_config(tmp_path)
    assert saved.num_parameters == 0 and len(saved.model.hidden_sizes) == 2
    assert abs(results["num_parameters"] / 20_000 - 1) < 0.05
    # The same command goes on, and what was saved builds what was trained.
    assert train_and_evaluate(config, tmp_path)["epochs"] == 0
    flow = build_flow(saved, load_data(saved))
    assert num_parameters(flow) == results["num_parameters"]


def test_the_gaussian_is_fitted_without_a_step(tmp_path):
    config = small_config(model="gaussian", num_epochs=0)
    results = train_and_evaluate(config, tmp_path)
    assert (results["epochs"], results["best_epoch"]) == (0, 0)
    # Its covariance is shrunk a little.
    assert results["log_likelihood_nats"] == pytest.approx(results["gaussian_nats"], abs=0.2)
    flow, dataset, _ = load_run(tmp_path)
    assert score(flow, dataset)["log_likelihood_nats"] == results["log_likelihood_nats"]


def test_batches_that_do_not_fit():
    config = make_config(common(name="x", title="X", batch_size=12))
    with pytest.raises(ValueError, match="does not divide over 8 devices"):
        check_batch(config, num_train=100, num_devices=8)
    with pytest.raises(ValueError, match="only 10 training"):
        check_batch(config, num_train=10, num_devices=1)


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
    np.testing.assert_allclose(penalised["bias"], -2, rtol=1e-6)


def test_adam_by_hand():
    """With its usual decays, its own rate for the dense layers, and clipping before it."""
    gradients = [np.array([0.3, -2.0]), np.array([0.1, 5.0])]
    params = {"dense": {"weight": jnp.zeros(2)}, "net": jnp.zeros(2)}
    config = optimizer_config(learning_rate=0.01, dense_learning_rate=0.1, clip_norm=1e-3)
    optimizer = make_optimizer(config, 10, {"dense/weight": 1.0})
    state, m, v = optimizer.init(params), 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        tree = jax.tree.map(lambda _, g=gradient: jnp.float32(g), params)
        updates, state = optimizer.update(tree, state, params)
        clipped = gradient * 1e-3 / np.linalg.norm([*gradient, *gradient])
        m, v = 0.9 * m + 0.1 * clipped, 0.999 * v + 0.001 * clipped**2
        direction = m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(updates["net"], -0.01 * direction, rtol=1e-4)
        np.testing.assert_allclose(updates["dense"]["weight"], -0.1 * direction, rtol=1e-4)


def test_trust_region_bounds_what_any_optimizer_does_to_the_dense_layers():
    params = {"dense": {"weight": 2 * jnp.eye(2)}, "net": jnp.ones(2)}
    gradients = {"dense": {"weight": jnp.ones((2, 2))}, "net": jnp.ones(2)}
    config = optimizer_config(learning_rate=100.0, trust_region=0.25)
    optimizer = make_optimizer(config, 10, ["dense/weight"])
    steps, _ = optimizer.update(gradients, optimizer.init(params), params)
    assert 0.24 < np.linalg.norm(steps["dense"]["weight"] / 2) <= 0.25
    np.testing.assert_allclose(steps["net"], -100, rtol=1e-3)
