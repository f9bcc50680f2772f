"""The optax transformation on Flax's and Haiku's own modules, and inside optax's wrappers."""

import chex
from flax import linen, nnx
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import pytest

from flowzoo.relative.optax_transform import relative_gradient, scale_by_relative_gradient
from flowzoo_tests.relative.two_layers import (
    DIM,
    LAYERS,
    activation,
    assert_close,
    by_hand,
    fit,
    fit_by_hand,
    gradient_of_data_terms,
    loss,
    make_params,
    make_x,
)

pytestmark = pytest.mark.usefixtures("x64")

OPTIMIZERS = {"plain": optax.sgd(0.01), "adam": optax.adam(0.01)}


def relative_optimizer(name, weights, layout, **kwargs):
    if name == "adam":
        return relative_gradient(0.01, weights, layout=layout, **kwargs)
    return optax.chain(
        scale_by_relative_gradient(weights, layout=layout, **kwargs), optax.scale(-0.01)
    )


class LinenFlow(linen.Module):
    @linen.compact
    def __call__(self, x):
        y = linen.Dense(DIM, param_dtype=jnp.float64)(x)
        return y, linen.Dense(DIM, param_dtype=jnp.float64)(activation(y))


def likelihood_loss(outputs, matrices):
    y, z = outputs
    log_slope = jnp.log(0.3 + 0.7 * jax.nn.sigmoid(y))
    log_dets = sum(jnp.linalg.slogdet(w)[1] for w in matrices)
    return jnp.mean(jnp.sum(0.5 * z**2 - log_slope, -1)) - log_dets


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_flax_linen(optimizer):
    x, flow = make_x(3), LinenFlow()
    variables = flow.init(jax.random.key(0), x)
    start = {
        name: {"weight": layer["kernel"].T, "bias": layer["bias"]}
        for name, layer in zip("01", variables["params"].values(), strict=True)
    }

    def linen_loss(variables):
        kernels = [layer["kernel"] for layer in variables["params"].values()]
        return likelihood_loss(flow.apply(variables, x), kernels)

    tx = relative_optimizer(optimizer, "params/Dense_*/kernel", "in_out")
    trained = fit(variables, jax.grad(linen_loss), tx)["params"]
    expected = fit_by_hand(start, x, OPTIMIZERS[optimizer])
    for name, layer in zip(("Dense_0", "Dense_1"), expected.values(), strict=True):
        assert_close(trained[name]["kernel"], layer["weight"].T)
        assert_close(trained[name]["bias"], layer["bias"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_haiku(optimizer):
    class Flow(hk.Module):
        def __init__(self):
            super().__init__()
            self.layers = [hk.Linear(DIM), hk.Linear(DIM)]

        def __call__(self, x):
            y = self.layers[0](x)
            return y, self.layers[1](activation(y))

    x = make_x(4)
    flow = hk.without_apply_rng(hk.transform(lambda x: Flow()(x)))
    params = flow.init(jax.random.key(0), x)
    assert list(params) == ["flow/~/linear", "flow/~/linear_1"]
    start = {
        name: {"weight": layer["w"].T, "bias": layer["b"]}
        for name, layer in zip("01", params.values(), strict=True)
    }

    def haiku_loss(params):
        return likelihood_loss(flow.apply(params, x), [layer["w"] for layer in params.values()])

    tx = relative_optimizer(optimizer, "flow/**/w", "in_out")
    trained = fit(params, jax.grad(haiku_loss), tx)
    expected = fit_by_hand(start, x, OPTIMIZERS[optimizer])
    for actual, layer in zip(trained.values(), expected.values(), strict=True):
        assert_close(actual["w"], layer["weight"].T)
        assert_close(actual["b"], layer["bias"])


class NNXLayer(nnx.Module):
    def __init__(self, layer):
        self.weight, self.bias = nnx.Param(layer["weight"]), nnx.Param(layer["bias"])


class NNXFlow(nnx.Module):
    def __init__(self, params):
        self.layers = nnx.List([NNXLayer(layer) for layer in params.values()])

    def loss(self, x):
        params = {
            str(i): {"weight": layer.weight[...], "bias": layer.bias[...]}
            for i, layer in enumerate(self.layers)
        }
        return loss(params, x)


@pytest.mark.parametrize("as_state", [True, False])
def test_flax_nnx_state_and_module(as_state):
    x, start = make_x(5), make_params(5)
    expected = fit_by_hand(start, x, OPTIMIZERS["plain"])
    graph, state = nnx.split(NNXFlow(start))
    tx = relative_optimizer("plain", "layers/*/weight", "out_in")
    if as_state:
        gradient_of = jax.grad(lambda state: nnx.merge(graph, state).loss(x))
        trained = nnx.merge(graph, fit(state, gradient_of, tx))
    else:
        trained = fit(NNXFlow(start), jax.grad(lambda flow: flow.loss(x)), tx)
    for layer, hand in zip(trained.layers, expected.values(), strict=True):
        assert_close(layer.weight[...], hand["weight"])
        assert_close(layer.bias[...], hand["bias"])


def test_masked():
    params, grads = make_params(8), make_params(9)
    tx = optax.masked(
        scale_by_relative_gradient("0/weight", layout="out_in"), {"0": True, "1": False}
    )
    update, _ = tx.update(grads, tx.init(params), params)
    assert_close(update, {"0": by_hand(params, grads)["0"], "1": grads["1"]})


def test_chain_under_jit_with_extra_arguments():
    params, grads = make_params(8), make_params(9)
    tx = optax.chain(
        optax.clip_by_global_norm(1e3),
        scale_by_relative_gradient(LAYERS, layout="out_in"),
        optax.scale_by_learning_rate(1.0, flip_sign=False),
    )
    update, _ = jax.jit(tx.update)(grads, tx.init(params), params, value=0.0, unknown=grads)
    assert_close(update, by_hand(params, grads))


def test_multi_steps_averages_first():
    params, grads, more = make_params(8), make_params(9), make_params(10)
    tx = optax.MultiSteps(scale_by_relative_gradient(LAYERS, layout="out_in"), 2)
    update, state = tx.update(grads, tx.init(params), params)
    chex.assert_trees_all_equal(update, jax.tree.map(jnp.zeros_like, grads))
    update, _ = tx.update(more, state, params)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, grads, more)
    assert_close(update, by_hand(params, mean), rtol=1e-6)  # MultiSteps averages in float32.


def test_inject_hyperparams():
    params, x = make_params(8), make_x(8)
    tx = optax.inject_hyperparams(relative_gradient)(
        learning_rate=optax.constant_schedule(0.01),
        weights=[LAYERS],
        layout="out_in",
        add_log_det=1.0,
    )
    assert {"learning_rate", "add_log_det"} <= set(tx.init(params).hyperparams)
    trained = fit(params, lambda params: gradient_of_data_terms(params, x), tx)
    assert_close(trained, fit_by_hand(params, x, OPTIMIZERS["adam"]))


def test_tree_map_params_reaches_adams_moments():
    params = make_params(8)
    tx = relative_gradient(0.01, LAYERS, layout="out_in")
    ones = optax.tree_map_params(tx, jnp.ones_like, tx.init(params))
    assert jnp.all(optax.tree_utils.tree_get(ones, "mu")["0"]["weight"] == 1)
