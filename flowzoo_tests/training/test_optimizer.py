"""The optimizers for dense layers as `config.optimizer` asks for them."""

import chex
import jax
import jax.numpy as jnp
from ml_collections import config_dict
import numpy as np
import optax
import pytest

from flowzoo.relative import from_perturbations, orthogonalize, relative_muon
from flowzoo.training.config import default_config
from flowzoo.training.devices import make_mesh
from flowzoo.training.loop import Run, load_data
from flowzoo.training.optimizer import DENSE, MULTIPLICATIVE, gradient_rule, make_optimizer
from flowzoo_tests.training.small import small_config

PATHS = ["dense/weight"]


def optimizer_config(**keys):
    config = default_config().optimizer
    config.update(learning_rate=0.01, dense_learning_rate=0.1, **keys)
    return config


def tree(seed):
    rng = np.random.default_rng(seed)
    dense = {"weight": rng.normal(size=(3, 3)), "bias": rng.normal(size=3)}
    return jax.tree.map(jnp.float32, {"dense": dense, "net": rng.normal(size=(2, 3))})


def update_of(optimizer, gradients, params):
    return optimizer.update(gradients, optimizer.init(params), params)[0]


@pytest.mark.parametrize("name", DENSE)
def test_dense_layers_by_their_own_rate_and_the_rest_by_adam(name):
    params, gradients = tree(0), tree(1)
    optimizer = make_optimizer(optimizer_config(name=name), 10, PATHS, rule="multiplicative")
    update = update_of(optimizer, gradients, params)
    np.testing.assert_allclose(update["net"], -0.01 * jnp.sign(gradients["net"]), rtol=1e-4)
    if name == "muon":  # of optax, whose rate is the matrices' alone
        singular = np.linalg.svd(update["dense"]["weight"] / 0.1, compute_uv=False)
        assert singular.min() > 0.6 and singular.max() < 1.21
        bias = -0.01 * jnp.sign(gradients["dense"]["bias"])
        np.testing.assert_allclose(update["dense"]["bias"], bias, rtol=1e-4)
        return
    m, g = gradients["dense"]["weight"], gradients["dense"]["bias"]
    hat = {
        "relative_muon": {"weight": orthogonalize(m), "bias": g / jnp.linalg.norm(g)},
        "relative_adam": {"weight": jnp.sign(m), "bias": jnp.sign(g)},
    }[name]
    back = from_perturbations("weight", layout="out_in")
    expected = jax.tree.map(lambda u: -0.1 * u, update_of(back, hat, params["dense"]))
    chex.assert_trees_all_close(update["dense"], expected, rtol=1e-4, atol=1e-6)


def test_both_rates_follow_the_schedule():
    config = optimizer_config(name="relative_muon", schedule="cosine")
    optimizer = make_optimizer(config, 2, PATHS, rule="multiplicative")
    params, gradients = tree(0), tree(1)
    state, sizes = optimizer.init(params), []
    for _ in range(3):
        update, state = optimizer.update(gradients, state, params)
        sizes.append([float(jnp.abs(update["net"]).max()), float(optax.global_norm(update))])
    np.testing.assert_allclose(np.array(sizes[1]) / sizes[0], 0.5, rtol=1e-3)
    np.testing.assert_allclose(sizes[2], 0, atol=1e-7)


def test_adam_moves_the_matrices_of_dense_layers_by_their_own_rate():
    params, gradients = tree(0), tree(1)
    update = update_of(make_optimizer(optimizer_config(), 10, PATHS), gradients, params)
    np.testing.assert_allclose(jnp.abs(update["dense"]["weight"]), 0.1, rtol=1e-4)
    np.testing.assert_allclose(jnp.abs(update["dense"]["bias"]), 0.01, rtol=1e-4)


@pytest.mark.parametrize("name", MULTIPLICATIVE)
@pytest.mark.parametrize("gradient", ["ordinary", "relative_optax"])
def test_every_gradient_leads_to_the_same_steps(name, gradient):
    """The fused rule hands over E; from ordinary gradients, and data terms, it is formed."""
    optimizer = dict(name=name, learning_rate=1e-3, dense_learning_rate=1e-2)
    fused, other = (
        after(small_config(gradient=rule, optimizer=optimizer), 10)[0]
        for rule in ("relative", gradient)
    )
    chex.assert_trees_all_close(
        fused.variables.params, other.variables.params, rtol=1e-3, atol=1e-4
    )


def after(config, steps, *mesh):
    run = Run(config, load_data(config), make_mesh(*(mesh or (1, 1))))
    state = run.start()
    order = run.shuffle(state.key, 0)
    return run.run_steps(state, run.x, run.labels, order, np.int32(steps))


@pytest.mark.parametrize("name", MULTIPLICATIVE)
def test_stacked_layers_and_a_mesh_train_as_one_device(name):
    optimizer = dict(name=name, learning_rate=1e-3, dense_learning_rate=3e-3)
    config = small_config(optimizer=optimizer)
    config.model.num_layers = 18  # of which 17 are a stack
    results = [after(config, 10, *mesh) for mesh in ((1, 1), (8, 1), (2, 4))]
    for state, report in results[1:]:
        assert report.failed_step == -1
        pairs = zip(
            jax.tree.leaves(state.variables.params),
            jax.tree.leaves(results[0][0].variables.params),
            strict=True,
        )
        for actual, expected in pairs:
            actual, expected = np.asarray(actual), np.asarray(expected)
            error = np.linalg.norm(actual - expected) / (1e-2 + np.linalg.norm(expected))
            assert error < 1e-4


def test_the_step_of_relative_muon_factors_nothing():
    config = small_config(optimizer=dict(name="relative_muon"))
    run = Run(config, load_data(config), make_mesh(1, 1))
    state = run.start()
    order = run.shuffle(state.key, 0)
    lowered = run.run_steps.lower(state, run.x, run.labels, order, np.int32(5))
    assert "getrf" not in lowered.compile().as_text()


def test_the_alias_takes_the_steps_of_the_config():
    params, gradients = tree(0), tree(1)
    config = make_optimizer(
        optimizer_config(name="relative_muon"), 10, PATHS, rule="multiplicative"
    )
    alias = relative_muon(
        0.1, "dense/weight", layout="out_in", gradients="multiplicative", adam_learning_rate=0.01
    )
    chex.assert_trees_all_close(
        update_of(config, gradients, params), update_of(alias, gradients, params), rtol=1e-6
    )


def test_the_rank_is_the_configs():
    params, gradients = tree(0), tree(1)
    for rank in (1, 3):
        config = make_optimizer(
            optimizer_config(name="relative_muon", rank=rank), 10, PATHS, rule="multiplicative"
        )
        alias = relative_muon(
            0.1, "dense/weight", layout="out_in", gradients="multiplicative", rank=rank
        )
        updates = (update_of(optimizer, gradients, params) for optimizer in (config, alias))
        chex.assert_trees_all_close(*(update["dense"] for update in updates), rtol=1e-6)


def test_the_rule_follows_from_gradient_and_optimizer():
    rules = {
        ("adam", "relative"): "relative",
        ("muon", "ordinary"): "ordinary",
        ("relative_muon", "relative"): "multiplicative",
        ("relative_adam", "relative_optax"): "data_terms",
        ("relative_adam", "ordinary"): "ordinary",
    }
    for (name, gradient), rule in rules.items():
        config = config_dict.create(gradient=gradient, optimizer=dict(name=name))
        assert gradient_rule(config) == rule
    with pytest.raises(ValueError, match="'transposed', the gradient of a factor on the right"):
        config = dict(gradient="transposed", optimizer=dict(name="relative_muon"))
        gradient_rule(config_dict.create(**config))


def test_what_has_no_effect_or_no_meaning_is_refused():
    with pytest.raises(ValueError, match="for dense layers, but this model has none"):
        make_optimizer(optimizer_config(name="relative_muon"), 10)
    config = optimizer_config(name="relative_adam", l2=0.1, decay_pattern="weight")
    with pytest.raises(ValueError, match="choose config.optimizer.weight_decay"):
        make_optimizer(config, 10, PATHS)
