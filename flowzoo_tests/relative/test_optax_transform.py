"""The optax transformation against autodiff and the fused rule, in float64."""

import dataclasses
import doctest

import chex
from hypothesis import given, settings
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo.relative import optax_transform
from flowzoo.relative.fused import affine, log_abs_det
from flowzoo.relative.optax_transform import scale_by_relative_gradient
from flowzoo_tests.relative.two_layers import (
    DIM,
    LAYERS,
    activation,
    assert_close,
    by_hand,
    data_terms,
    gradient,
    gradient_of_data_terms,
    inner,
    loss,
    make_params,
    make_x,
    swapped,
    transform,
)

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("variant", ["relative", "transposed"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("log10_condition", [1.0, 6.0])
def test_optax_equals_projected_autodiff_equals_fused(variant, bias, log10_condition):
    params = make_params(0, bias=bias, log10_condition=log10_condition)
    x = make_x(0)
    grads, grads_of_data = gradient(params, x), gradient_of_data_terms(params, x)
    expected = by_hand(params, grads, variant)
    # The ordinary gradient contains W⁻ᵀ, which rounding hurts in proportion to the condition.
    rtol = 1e-14 * 10 ** (log10_condition + 2)

    included = transform(params, grads, variant=variant)
    assert_close(included, expected, rtol)
    added = transform(params, grads_of_data, variant=variant, add_log_det=1.0)
    assert_close(added, expected, rtol)
    in_out = transform(swapped(params), swapped(grads), layout="in_out", variant=variant)
    assert_close(in_out, swapped(included), 1e-14)

    def fused_loss(params):
        first, second = ((p["weight"], p.get("bias")) for p in params.values())
        y = affine(x, *first, variant)
        z = affine(activation(y), *second, variant)
        log_slope = jnp.log(0.3 + 0.7 * jax.nn.sigmoid(y))
        log_dets = log_abs_det(*first, variant) + log_abs_det(*second, variant)
        return jnp.mean(jnp.sum(0.5 * z**2 - log_slope, -1)) - log_dets

    # Without an inverse on either side nothing is lost to the condition number.
    assert_close(jax.grad(fused_loss)(params), added, 1e-12)


def test_add_log_det_is_the_coefficient_in_the_loss():
    params, x = make_params(1), make_x(1)

    def scaled_loss(params):
        minus_log_dets = loss(params, x) - data_terms(params, x)
        return data_terms(params, x) / 3 + 5 / 3 * minus_log_dets

    expected = transform(params, jax.grad(scaled_loss)(params))
    grads = jax.tree.map(lambda g: g / 3, gradient_of_data_terms(params, x))
    assert_close(transform(params, grads, add_log_det=5 / 3), expected)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20), log10_condition=st.floats(0, 3), bias=st.booleans())
def test_descent_always_and_zero_only_where_the_gradient_is(seed, log10_condition, bias):
    params = make_params(seed, bias=bias, log10_condition=log10_condition)
    x = make_x(seed, batch=1 + seed % 2 * 6)
    grads, grads_of_data = gradient(params, x), gradient_of_data_terms(params, x)

    product = inner(grads, transform(params, grads_of_data, add_log_det=1.0))
    expected = 0.0
    for name, layer in params.items():
        g = grads[name].get("bias", jnp.zeros(DIM))
        b = layer.get("bias", jnp.zeros(DIM))
        expected += jnp.sum((grads[name]["weight"] @ layer["weight"].T + jnp.outer(g, b)) ** 2)
        expected += jnp.sum(g**2)
    # This sum of squares vanishes only with (G, g), because W is invertible.
    np.testing.assert_allclose(product, expected, rtol=1e-8)
    assert product > 0

    product = inner(grads, transform(params, grads_of_data, add_log_det=1.0, variant="transposed"))
    assert product > 0


def gaussian_optimum(x):
    """The one linear flow, up to a rotation, that maximises the likelihood: it whitens x."""
    covariance = np.cov(x.T, bias=True)
    weight = np.linalg.inv(np.linalg.cholesky(covariance))
    return {"weight": jnp.array(weight), "bias": jnp.array(-weight @ np.mean(x, 0))}


def gaussian_data_terms(params, x):
    z = x @ params["weight"].T + params["bias"]
    return 0.5 * jnp.mean(jnp.sum(z**2, -1))


def gaussian_loss(params, x):
    return gaussian_data_terms(params, x) - jnp.linalg.slogdet(params["weight"])[1]


@pytest.mark.parametrize("variant", ["relative", "transposed"])
def test_zero_at_a_stationary_point(variant):
    x = make_x(2, batch=50)
    params = gaussian_optimum(x)
    grads = jax.grad(gaussian_loss)(params, x)
    chex.assert_trees_all_close(grads, jax.tree.map(jnp.zeros_like, grads), atol=1e-12)
    update = transform(
        params,
        jax.grad(gaussian_data_terms)(params, x),
        "weight",
        variant=variant,
        add_log_det=1.0,
    )
    chex.assert_trees_all_close(update, jax.tree.map(jnp.zeros_like, grads), atol=1e-12)


def test_without_the_log_dets_bias_part_both_properties_fail():
    x = make_x(2, batch=50)

    def update_and_wrong_update(params):
        grads = jax.grad(gaussian_data_terms)(params, x)
        update = transform(params, grads, "weight", add_log_det=1.0)
        return update, {**update, "bias": update["bias"] + params["bias"]}

    optimum = gaussian_optimum(x)
    wrong = update_and_wrong_update(optimum)[1]
    assert jnp.linalg.norm(wrong["bias"]) > 0.5  # Its own fixed point is elsewhere.

    near = {**optimum, "bias": 0.9 * optimum["bias"]}
    grads = jax.grad(gaussian_loss)(near, x)
    update, wrong = update_and_wrong_update(near)
    assert inner(grads, update) > 0
    assert inner(grads, wrong) < 0  # It climbs.


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class OwnLayer:
    matrix: jax.Array
    shift: jax.Array


def test_own_dataclass_with_its_own_bias_name():
    params, grads = make_params(6), make_params(7)
    expected = by_hand(params, grads)
    own, own_grads = (
        [OwnLayer(layer["weight"], layer["bias"]) for layer in tree.values()]
        for tree in (params, grads)
    )
    update = transform(own, own_grads, ["0/matrix", "1/matrix"], bias_names={"matrix": "shift"})
    for actual, hand in zip(update, expected.values(), strict=True):
        assert_close(actual.matrix, hand["weight"])
        assert_close(actual.shift, hand["bias"])


def test_no_bias_names_leaves_the_bias_alone():
    params, grads = make_params(8), make_params(9)
    update = transform(params, grads, bias_names={})
    weight, grad = params["0"]["weight"], grads["0"]["weight"]
    assert_close(update["0"]["weight"], grad @ weight.T @ weight)
    assert update["0"]["bias"] is grads["0"]["bias"]


def test_unselected_leaves_pass_through_untouched():
    params, grads = make_params(8), make_params(9)
    update = transform(params, grads, "0/weight")
    assert_close(update["0"], by_hand(params, grads)["0"])
    assert update["1"]["weight"] is grads["1"]["weight"]
    assert update["1"]["bias"] is grads["1"]["bias"]


def test_stacked_layers_are_transformed_one_by_one():
    def stack(tree):
        return jax.tree.map(lambda *a: jnp.stack(a), *tree.values())

    params, grads = make_params(8), make_params(9)
    for kwargs in ({}, {"layout": "in_out"}, {"variant": "transposed"}, {"add_log_det": 1.0}):
        update = transform(stack(params), stack(grads), "weight", **kwargs)
        assert_close(update, stack(transform(params, grads, **kwargs)))


def test_frozen_leaves():
    params, grads = make_params(8), make_params(9)
    without_bias = by_hand({"0": {"weight": params["0"]["weight"]}}, grads)["0"]["weight"]
    for nothing in (None, optax.MaskedNode()):
        frozen = {"0": {**grads["0"], "bias": nothing}, "1": {**grads["1"], "weight": nothing}}
        update = transform(params, frozen)
        assert_close(update["0"]["weight"], without_bias)
        assert update["0"]["bias"] == nothing and update["1"]["weight"] == nothing
        assert update["1"]["bias"] is grads["1"]["bias"]


def test_keeps_the_gradients_dtype_and_accumulates_in_float32():
    def cast(tree, dtype):
        return jax.tree.map(lambda a: a.astype(dtype), tree)

    params, grads = cast(make_params(8), jnp.bfloat16), cast(make_params(9), jnp.bfloat16)
    update = transform(params, grads, add_log_det=1.0)
    in_float32 = transform(cast(params, "float32"), cast(grads, "float32"), add_log_det=1.0)
    chex.assert_trees_all_equal(update, cast(in_float32, jnp.bfloat16))
    mixed = transform(cast(params, "float32"), grads, add_log_det=1.0)
    chex.assert_trees_all_equal(mixed, update)


@pytest.mark.parametrize(
    "weights, kwargs, sentence",
    [
        ([], {}, "no paths in `weights`"),
        (LAYERS, {"layout": "oi"}, "layout is 'oi'"),
        (LAYERS, {"variant": "natural"}, "variant is 'natural'"),
        ([LAYERS, "*/kernel"], {}, r"'\*/kernel', which matches no parameter.* '0/weight'"),
        ("weight", {}, "'weight', which matches no parameter"),
        ("0/*", {}, r"'0/bias' of shape \(3,\), expected a square matrix"),
        ("net", {}, r"'net' of shape \(2, 3\), expected a square matrix"),
        (
            LAYERS,
            {"bias_names": {"weight": "wide"}},
            r"'0/wide' beside '0/weight' has shape \(4,\)",
        ),
        ("0/w*", {"bias_names": {"weight": "bias", "w": "bias"}}, "beside two selected matrices"),
    ],
)
def test_errors_are_sentences(weights, kwargs, sentence):
    params = make_params(8)
    params["net"] = jnp.zeros((2, 3))
    params["0"]["wide"] = jnp.zeros(4)
    if weights == "0/w*":
        params["0"] = {"w": jnp.eye(DIM), "weight": jnp.eye(DIM), "bias": jnp.zeros(DIM)}
    with pytest.raises(ValueError, match=sentence):
        scale_by_relative_gradient(weights, **{"layout": "out_in", **kwargs}).init(params)


def test_params_are_required():
    params = make_params(8)
    tx = scale_by_relative_gradient(LAYERS, layout="out_in")
    with pytest.raises(ValueError, match="got params=None"):
        tx.update(params, tx.init(params))


def test_examples_in_the_docstrings():
    results = doctest.testmod(optax_transform)
    assert results.attempted and not results.failed
