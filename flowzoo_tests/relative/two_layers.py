"""A two-layer flow in plain arrays, and its relative gradient written out by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowzoo.relative import affine, log_abs_det, to_perturbations
from flowzoo.relative.optax_transform import scale_by_relative_gradient

DIM = 3
LAYERS = "*/weight"


def activation(y):
    return 0.3 * y + 0.7 * jax.nn.softplus(y)


def data_terms(params, x):
    """Mean negative log-likelihood of a two-layer flow less its `-Σ log|det W|`."""
    y = x @ params["0"]["weight"].T + params["0"].get("bias", 0)
    z = activation(y) @ params["1"]["weight"].T + params["1"].get("bias", 0)
    log_slope = jnp.log(0.3 + 0.7 * jax.nn.sigmoid(y))
    return jnp.mean(jnp.sum(0.5 * z**2 - log_slope, -1))


def loss(params, x):
    log_dets = [jnp.linalg.slogdet(layer["weight"])[1] for layer in params.values()]
    return data_terms(params, x) - sum(log_dets)


gradient = jax.jit(jax.grad(loss))
gradient_of_data_terms = jax.jit(jax.grad(data_terms))


def fused_loss(params, x, rule, extra=lambda weight: 0.0):
    first, second = ((p["weight"], p.get("bias")) for p in params.values())
    y = affine(x, *first, rule)
    z = affine(activation(y), *second, rule)
    log_slope = jnp.log(0.3 + 0.7 * jax.nn.sigmoid(y))
    log_dets = log_abs_det(*first, rule) + log_abs_det(*second, rule)
    return jnp.mean(jnp.sum(0.5 * z**2 - log_slope, -1)) - log_dets


def make_params(seed, *, bias=True, log10_condition=1.0):
    rng = np.random.default_rng(seed)
    params = {}
    for name in ("0", "1"):
        u, v = (np.linalg.qr(rng.normal(size=(DIM, DIM)))[0] for _ in range(2))
        params[name] = {"weight": jnp.array(u * np.logspace(0, -log10_condition, DIM) @ v)}
        if bias:
            params[name]["bias"] = jnp.array(rng.normal(size=DIM))
    return params


def make_x(seed, batch=7):
    return jnp.array(np.random.default_rng(seed + 1000).normal(1.0, 2.0, size=(batch, DIM)))


def by_hand(params, grads, variant="relative"):
    """The relative gradient from the augmented matrices, written out; (out, in) layers."""
    new = {}
    for name, layer in params.items():
        weight, grad = np.array(layer["weight"]), np.array(grads[name]["weight"])
        bias = np.array(layer.get("bias", np.zeros(DIM)))
        bias_grad = np.array(grads[name].get("bias", np.zeros(DIM)))
        if variant == "transposed":
            new[name] = {"weight": weight @ weight.T @ grad, "bias": bias_grad}
        else:
            augmented, augmented_grad = np.eye(DIM + 1), np.zeros((DIM + 1, DIM + 1))
            augmented[:DIM, :DIM], augmented[:DIM, DIM] = weight, bias
            augmented_grad[:DIM, :DIM], augmented_grad[:DIM, DIM] = grad, bias_grad
            product = augmented_grad @ (augmented.T @ augmented)
            new[name] = {"weight": product[:DIM, :DIM], "bias": product[:DIM, DIM]}
        if "bias" not in layer:
            del new[name]["bias"]
    return new


def transform(params, grads, weights=LAYERS, layout="out_in", **kwargs):
    return update_of(scale_by_relative_gradient(weights, layout=layout, **kwargs), grads, params)


def update_of(optimizer, gradients, params):
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def perturbations(params, grads, **kwargs):
    return update_of(to_perturbations(LAYERS, **{"layout": "out_in", **kwargs}), grads, params)


def swapped(params):
    return jax.tree.map(lambda a: a.T if a.ndim == 2 else a, params)


def inner(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def assert_close(actual, expected, rtol=1e-9):
    """Relative to the largest entry of each leaf."""
    chex.assert_trees_all_equal_shapes_and_dtypes(actual, jax.tree.map(jnp.asarray, expected))
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=rtol * np.abs(e).max())


def fit(params, gradient_of, optimizer, steps=4):
    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(gradient_of(params), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params


def fit_by_hand(params, x, optimizer, steps=4):
    state = optimizer.init(params)
    for _ in range(steps):
        updates, state = optimizer.update(by_hand(params, gradient(params, x)), state)
        params = optax.apply_updates(params, updates)
    return params
