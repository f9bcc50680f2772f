"""The rules for a layer used backwards against autodiff and the rules' metrics, in float64."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.relative import RULES, log_abs_det
from flowzoo.relative.backwards import OTHER_SIDE, inverse_affine

DIM = 4
LOG_DET = 1.7  # Its coefficient in the loss.


def layer(seed=0, use_bias=True):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(DIM, DIM)), rng.normal(size=DIM) if use_bias else None


def events(batch_shape=(6,), seed=1):
    return np.random.default_rng(seed).normal(size=(*batch_shape, DIM))


def loss(z, weight, bias, rule):
    factors = jax.scipy.linalg.lu_factor(weight)
    x = inverse_affine(z, weight, bias, factors, rule)
    log_det = -log_abs_det(weight, bias, OTHER_SIDE.get(rule, rule), factors[0])
    return jnp.sum(jnp.log(jnp.cosh(x)) + 0.1 * x**2) - LOG_DET * log_det


@functools.partial(jax.jit, static_argnums=3)
def gradients(z, weight, bias, rule):
    return jax.grad(loss, (0, 1) if bias is None else (0, 1, 2))(z, weight, bias, rule)


@jax.jit
def autodiff(z, weight, bias):
    """The ordinary gradients in z, W and b of the loss, and in W of its data terms alone."""

    def plain(z, weight, bias, log_det):
        x = (z - (0 if bias is None else bias)) @ jnp.linalg.inv(weight).T
        data = jnp.sum(jnp.log(jnp.cosh(x)) + 0.1 * x**2)
        return data + log_det * jnp.linalg.slogdet(weight)[1]

    argnums = (0, 1) if bias is None else (0, 1, 2)
    full = jax.grad(plain, argnums)(z, weight, bias, LOG_DET)
    return full, jax.grad(plain, 1)(z, weight, bias, 0.0)


def by_metric(z, weight, bias, rule):
    (dz, big, *small), big_of_data = autodiff(z, weight, bias)
    g, b = (small[0], bias) if small else (np.zeros(DIM), np.zeros(DIM))
    if rule in ("relative", "relative_radial"):
        big, g = weight @ weight.T @ big, weight @ weight.T @ g
    elif rule == "transposed":
        m = big @ weight.T + np.outer(g, b)
        big, g = m @ weight, m @ b + g
    elif rule == "multiplicative":
        big = big @ weight.T + np.outer(g, b)
    elif rule == "data_terms":
        big = big_of_data
    return (dz, big, g) if small else (dz, big)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("batch_shape", [(), (6,), (2, 3)])
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "log_det_count"])
def test_gradients_are_autodiffs_times_the_metric(rule, batch_shape, use_bias, x64):
    z, parameters = events(batch_shape), layer(use_bias=use_bias)
    actual, expected = gradients(z, *parameters, rule), by_metric(z, *parameters, rule)
    for a, e in zip(actual, expected, strict=True):
        chex.assert_equal_shape([a, e])
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", ["relative", "transposed"])
def test_they_descend_and_vanish_where_the_gradient_does(rule, x64):
    for seed in range(20):
        z, parameters = events(seed=seed + 100), layer(seed)
        _, big, small = gradients(z, *parameters, rule)
        (_, ordinary_big, ordinary_small), _ = autodiff(z, *parameters)
        assert np.vdot(big, ordinary_big) + np.vdot(small, ordinary_small) > 0

    # At a stationary point of `0.5 |x|²`, whitened data, all vanishes.
    z = events((50,)) @ np.random.default_rng(2).normal(size=(DIM, DIM)) + 3
    weight, bias = np.linalg.cholesky(np.cov(z.T, bias=True)), z.mean(0)

    def stationary(weight, bias):
        factors = jax.scipy.linalg.lu_factor(weight)
        x = inverse_affine(z, weight, bias, factors, rule)
        return 0.5 * (x**2).sum(-1).mean() + log_abs_det(weight, bias, OTHER_SIDE[rule], factors[0])

    for gradient in jax.jit(jax.grad(stationary, (0, 1)))(weight, bias):
        np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_a_first_layer_and_stacked_layers(x64):
    z, layers = events(), [layer(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *a: np.stack(a), *layers)

    def of_parameters(weight, bias):
        return jax.grad(loss, (1, 2))(z, weight, bias, "relative")

    mapped = jax.jit(jax.vmap(of_parameters))(*stacked)
    for i, parameters in enumerate(layers):
        expected = gradients(z, *parameters, "relative")[1:]
        chex.assert_trees_all_close([a[i] for a in mapped], list(expected), rtol=1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_gradients_have_the_dtype_of_what_they_belong_to(rule, x64):
    weight, bias = (jnp.asarray(a, jnp.float32) for a in layer())
    for dtype in ("float32", "float64"):
        z = jnp.asarray(events(), dtype)
        found = jax.eval_shape(functools.partial(gradients, rule=rule), z, weight, bias)
        assert [a.dtype for a in found] == [dtype, "float32", "float32"]
