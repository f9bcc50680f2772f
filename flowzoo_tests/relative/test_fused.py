"""The fused rules against closed forms from the explicit ordinary gradient, in float64."""

import functools

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.relative import RULES, affine, log_abs_det
from flowzoo.transforms import with_modes

DIM = 4
LOG_DET = 1.7  # Its coefficient in the loss.
INVERSE_FREE = [rule for rule in RULES if rule != "ordinary"]


def layer(seed=0, log10_condition=0.5, use_bias=True):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(DIM, DIM)))[0] for _ in range(2))
    weight = (left * np.logspace(0, -log10_condition, DIM)) @ right
    return weight, rng.normal(size=DIM) if use_bias else None


def events(batch_shape=(6,), seed=1):
    return np.random.default_rng(seed).normal(size=(*batch_shape, DIM))


def loss(x, weight, bias, rule):
    y = affine(x, weight, bias, rule)
    return jnp.sum(jnp.log(jnp.cosh(y)) + 0.1 * y**2) - LOG_DET * log_abs_det(weight, bias, rule)


@functools.partial(jax.jit, static_argnums=3)
def gradients(x, weight, bias, rule):
    argnums = (0, 1) if bias is None else (0, 1, 2)
    return jax.grad(loss, argnums)(x, weight, bias, rule)


def by_hand(x, weight, bias, rule):
    """The ordinary gradient times the rule's metric, the inverse of W and all."""
    y = x @ weight.T + (0 if bias is None else bias)
    delta = np.tanh(y) + 0.2 * y
    rows = delta.reshape(-1, DIM)
    big, small = rows.T @ x.reshape(-1, DIM), rows.sum(0)
    if rule != "data_terms":
        big = big - LOG_DET * np.linalg.inv(weight).T
    if rule == "relative":
        b = np.zeros(DIM) if bias is None else bias
        small, big = (
            (big @ weight.T + np.outer(small, b)) @ b + small,
            (big @ weight.T + np.outer(small, b)) @ weight,
        )
        if bias is None:
            return delta @ weight, big
    if rule == "transposed":
        big = weight @ weight.T @ big
    return (delta @ weight, big) if bias is None else (delta @ weight, big, small)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("batch_shape", [(), (6,), (2, 3)])
@pytest.mark.parametrize("rule", ["ordinary", "relative", "transposed", "data_terms"])
def test_gradients_are_those_by_hand(rule, batch_shape, use_bias, x64):
    for log10_condition in (0.5, 7.0):
        x = events(batch_shape)
        parameters = layer(log10_condition=log10_condition, use_bias=use_bias)
        actual = gradients(x, *parameters, rule)
        expected = by_hand(x, *parameters, rule)
        # By hand, W⁻ᵀ is hurt by rounding in proportion to the condition number.
        rtol = 1e-13 * 10**log10_condition
        for a, e in zip(actual, expected, strict=True):
            chex.assert_equal_shape([a, e])
            np.testing.assert_allclose(a, e, rtol=0, atol=rtol * np.abs(e).max())


def test_a_bad_condition_does_not_hurt_the_relative_rules(x64):
    """Scaling one output down by 1e-12 scales that row of ΔW down, and loses no digit of it."""
    x = events()
    weight, bias = layer()
    scale = np.array([1, 1, 1e-12, 1])
    tilted = weight * scale[:, None]

    def linear(weight, bias):
        cost = np.arange(1.0, 1 + x.size).reshape(x.shape) / scale
        y = affine(x, weight, bias, "relative")
        return jnp.sum(cost * y) - LOG_DET * log_abs_det(weight, bias, "relative")

    big = jax.jit(jax.grad(linear))(tilted, bias)
    y = x @ tilted.T + bias
    delta = np.arange(1.0, 1 + x.size).reshape(x.shape) / scale
    np.testing.assert_allclose(big, delta.T @ (y @ tilted) - LOG_DET * tilted, rtol=1e-9)


def factorisations(f, *args) -> int:
    """How many LU factorisations the compiled program runs."""
    text = jax.jit(f).lower(*args).compile().as_text()
    return text.count('custom_call_target="lapack_sgetrf_ffi"')


def test_only_the_ordinary_gradient_needs_a_factorisation():
    parameters = [jnp.float32(a) for a in layer()]
    x = jnp.float32(events())
    for rule in RULES:
        gradient = jax.grad(lambda *args, rule=rule: loss(*args, rule), argnums=(0, 1, 2))
        assert factorisations(gradient, x, *parameters) == (rule == "ordinary"), rule
    value_too = jax.value_and_grad(lambda *args: loss(*args, "relative"))
    assert factorisations(value_too, x, *parameters) == 1


@pytest.mark.parametrize(("rule", "count"), [("ordinary", 2), ("relative", 0)])
def test_factorisations_of_a_whole_flows_gradient(rule, count):
    config = {"name": "fully_connected", "num_layers": 2}
    flow = with_modes(flowzoo.build(config, (DIM,), rngs=nnx.Rngs(0)), gradient_rule=rule)
    x = jnp.float32(events())
    assert factorisations(nnx.grad(lambda flow: flow.log_prob(x).mean()), flow) == count


@pytest.mark.parametrize("rule", INVERSE_FREE)
def test_a_first_layer_skips_the_gradient_in_its_input(rule, x64):
    x = events((50,))
    parameters = layer()

    def of_parameters(weight, bias):
        return jax.grad(loss, (1, 2))(x, weight, bias, rule)

    compiled = jax.jit(of_parameters).lower(*parameters).compile()
    chex.assert_trees_all_close(compiled(*parameters), gradients(x, *parameters, rule)[1:])
    if rule in ("relative", "data_terms"):  # The others use Δ W for the weights as well.
        full = gradients.lower(x, *parameters, rule).compile()
        saved = full.cost_analysis()["flops"] - compiled.cost_analysis()["flops"]
        assert saved > 1.8 * x.size * DIM


@pytest.mark.parametrize("rule", INVERSE_FREE)
def test_stacked_layers_under_vmap(rule, x64):
    layers = [layer(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *a: np.stack(a), *layers)
    x = events()
    mapped = jax.jit(
        jax.vmap(lambda *args: jax.grad(loss, (0, 1, 2))(*args, rule), in_axes=(None, 0, 0))
    )(x, *stacked)
    for i, parameters in enumerate(layers):
        expected = gradients(x, *parameters, rule)
        chex.assert_trees_all_close([a[i] for a in mapped], list(expected), rtol=1e-12)


@pytest.mark.parametrize("rule", INVERSE_FREE)
def test_scanned_layers(rule, x64):
    stacked = jax.tree.map(lambda *a: np.stack(a), *(layer(seed) for seed in range(3)))
    x = events()

    def step(state, parameters):
        y, log_det = state
        y = jnp.tanh(affine(y, *parameters, rule))
        return (y, log_det + log_abs_det(*parameters, rule)), None

    def scanned(parameters):
        y, log_det = jax.lax.scan(step, (x, jnp.zeros(())), parameters)[0]
        return jnp.sum(y**2) - log_det

    def unrolled(parameters):
        state = x, jnp.zeros(())
        for i in range(3):
            state, _ = step(state, jax.tree.map(lambda a: a[i], parameters))  # noqa: B023
        return jnp.sum(state[0] ** 2) - state[1]

    actual, expected = (jax.jit(jax.grad(f))(stacked) for f in (scanned, unrolled))
    chex.assert_trees_all_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    ("x_dtype", "dtype"), [("float32", "float32"), ("float64", "float32"), ("bfloat16", "float32")]
)
def test_gradients_have_the_dtype_of_what_they_belong_to(rule, x_dtype, dtype, x64):
    weight, bias = (jnp.asarray(a, dtype) for a in layer())
    x = jnp.asarray(events(), x_dtype)
    dx, dweight, dbias = jax.eval_shape(functools.partial(gradients, rule=rule), x, weight, bias)
    assert (dx.dtype, dweight.dtype, dbias.dtype) == (x_dtype, dtype, dtype)


def test_unknown_rule_is_refused():
    weight, bias = layer()
    for f in (
        lambda: affine(events(), weight, bias, "own"),
        lambda: log_abs_det(weight, bias, "own"),
    ):
        with pytest.raises(
            ValueError, match="The gradient rule is 'own', expected one of ordinary"
        ):
            f()
