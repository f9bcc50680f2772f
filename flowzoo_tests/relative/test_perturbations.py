"""Gradients in multiplicative coordinates, by the fused rule and from others, in float64."""

from flax import nnx
import jax
import jax.numpy as jnp
import optax
import pytest

from flowzoo.relative import affine, from_perturbations, to_perturbations
from flowzoo.transforms import Dense, Stack
from flowzoo_tests.relative.two_layers import (
    DIM,
    LAYERS,
    assert_close,
    fused_loss,
    gradient,
    gradient_of_data_terms,
    loss,
    make_params,
    make_x,
    perturbations,
    transform,
    update_of,
)

pytestmark = pytest.mark.usefixtures("x64")


def by_autodiff(params, x):
    """The gradient in the factor `[[I + P, p], [0, 1]]` of each layer, at P = 0 and p = 0."""

    def perturbed(factors):
        moved = {}
        for name, layer in params.items():
            weight, bias = layer["weight"], layer.get("bias")
            factor = jnp.eye(DIM) + factors[name]["weight"]
            moved[name] = {"weight": factor @ weight}
            if bias is not None:
                moved[name]["bias"] = factor @ bias + factors[name]["bias"]
        return loss(moved, x)

    return jax.grad(perturbed)(jax.tree.map(jnp.zeros_like, params))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("log10_condition", [1.0, 6.0])
def test_perturbations_are_the_gradient_in_the_factor(bias, log10_condition):
    params, x = make_params(0, bias=bias, log10_condition=log10_condition), make_x(0)
    expected = by_autodiff(params, x)
    rtol = 1e-14 * 10 ** (log10_condition + 2)
    assert_close(perturbations(params, gradient(params, x)), expected, rtol)
    added = perturbations(params, gradient_of_data_terms(params, x), add_log_det=1.0)
    assert_close(added, expected, rtol)
    # The fused rule has them without an inverse, at every condition number.
    assert_close(jax.grad(fused_loss)(params, x, "multiplicative"), added, 1e-12)


def test_the_fused_rule_gives_the_ordinary_gradient_in_the_input():
    params, x = make_params(1), make_x(1)
    ordinary, fused = (
        jax.grad(lambda x, rule=rule: fused_loss(params, x, rule))(x)
        for rule in ("ordinary", "multiplicative")
    )
    assert_close(fused, ordinary, 1e-13)


def test_the_fused_rule_takes_any_leading_axes_and_none():
    weight, bias = make_params(2)["0"].values()
    x = make_x(2, batch=6)

    def data_gradient(x):
        return jax.grad(lambda w, b: jnp.sum(affine(x, w, b, "multiplicative") ** 3), (0, 1))(
            weight, bias
        )

    expected = data_gradient(x)
    assert_close(data_gradient(x.reshape(2, 3, DIM)), expected)
    rows = [data_gradient(row) for row in x]
    assert_close(jax.tree.map(lambda *a: sum(a), *rows), expected)


def test_back_from_perturbations_is_the_relative_gradient():
    params, x = make_params(3), make_x(3)
    grads = gradient_of_data_terms(params, x)
    there = to_perturbations(LAYERS, layout="out_in", add_log_det=1.0)
    both = optax.chain(there, from_perturbations(LAYERS, layout="out_in"))
    assert_close(update_of(both, grads, params), transform(params, grads, add_log_det=1.0))


def test_stacked_layers_under_the_fused_rule():
    rngs = nnx.Rngs(0)
    layers = [Dense(DIM, rngs=rngs) for _ in range(3)]
    for layer in layers:
        layer.weight[...] = layer.weight[...].astype(jnp.float64)
        layer.gradient_rule = "multiplicative"
    x = make_x(3)

    def nats(transform):
        z, log_det = transform.forward_and_log_det(x)
        return 0.5 * (z**2).sum(-1).mean() - log_det.mean()

    stacked = jax.grad(nats)(Stack(layers)).layers.weight[...]

    def in_a_row(layers):
        z, total = x, 0.0
        for layer in layers:
            z, log_det = layer.forward_and_log_det(z)
            total += log_det.mean()
        return 0.5 * (z**2).sum(-1).mean() - total

    for actual, layer in zip(stacked, jax.grad(in_a_row)(layers), strict=True):
        assert_close(actual, layer.weight[...])
