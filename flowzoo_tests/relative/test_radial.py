"""The shortcut for losses that see of the latents only their length."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import pytest

from flowzoo import bases
from flowzoo.flow import Flow
from flowzoo.relative import affine, log_abs_det
from flowzoo.training.state import merge, split
from flowzoo.training.step import Batch, make_loss
from flowzoo.transforms import Chain, Dense, Inverse, TanhMix, with_modes
from flowzoo_tests.perturb import perturbed


def gradients(rule: str, of_y, use_bias: bool):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (2, 5, 3))
    weight = jax.random.normal(keys[1], (3, 3))
    bias = jax.random.normal(keys[2], (3,)) if use_bias else None

    def loss(x, weight, bias):
        return of_y(affine(x, weight, bias, rule)) - log_abs_det(weight, bias, rule)

    return jax.grad(loss, argnums=(0, 1, 2) if use_bias else (0, 1))(x, weight, bias)


def of_lengths(y: jax.Array) -> jax.Array:
    weights = jnp.arange(10.0).reshape(2, 5)
    return jnp.sum(weights * jnp.log1p(jnp.sum(y**2, axis=-1)))


@pytest.mark.parametrize("use_bias", [True, False])
def test_radial_is_relative_where_the_loss_sees_lengths_only(x64, use_bias):
    radial = gradients("relative_radial", of_lengths, use_bias)
    chex.assert_trees_all_close(radial, gradients("relative", of_lengths, use_bias), rtol=1e-12)


def test_radial_is_for_such_losses_only(x64):
    radial, relative = (
        gradients(rule, lambda y: jnp.sum(y**4), True) for rule in ("relative_radial", "relative")
    )
    chex.assert_trees_all_close(radial[::2], relative[::2], rtol=1e-12)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(radial[1], relative[1], rtol=1e-3)


class ScaledNormal(bases.StandardNormal):
    """A normal distribution whose scale grows from coordinate to coordinate."""

    @staticmethod
    def log_density(z):
        scale = jnp.arange(1.0, 1 + z.shape[-1])
        return bases.StandardNormal.log_density(z / scale) - jnp.log(scale)


BASES = {
    "standard_normal": bases.StandardNormal,
    "hyperbolic_secant": bases.HyperbolicSecant,
    "logistic": bases.Logistic,
    "laplace": bases.Laplace,
    "scaled_normal": ScaledNormal,
    "mixture": lambda shape: bases.MixtureOfGaussians(shape, num_components=2, rngs=nnx.Rngs(0)),
    "autoregressive": lambda shape: bases.MixtureMADE(
        shape[0], num_components=2, hidden_sizes=(4,), rngs=nnx.Rngs(0)
    ),
}
TRANSFORMS = {
    "dense": lambda dim: Dense(dim, rngs=nnx.Rngs(0)),
    "dense last": lambda dim: Chain(
        [Dense(dim, rngs=nnx.Rngs(1)), TanhMix((dim,)), Dense(dim, rngs=nnx.Rngs(0))]
    ),
    "dense first": lambda dim: Chain([Dense(dim, rngs=nnx.Rngs(0)), TanhMix((dim,))]),
    "dense backwards": lambda dim: Chain([TanhMix((dim,)), Inverse(Dense(dim, rngs=nnx.Rngs(0)))]),
}


def gradients_by(base, transform, dim=3):
    """Programs for the gradients, as in training and without the shortcut, and what they take."""
    flow = perturbed(Flow(BASES[base]((dim,)), TRANSFORMS[transform](dim)), scale=0.1 / dim)
    variables = split(flow)[1]
    batch = Batch(jax.random.normal(jax.random.key(0), (7, dim)), None)
    graph, _ = split(with_modes(flow, gradient_rule="relative"))

    def without_shortcut(params, variables, batch):
        flow = merge(graph, variables._replace(params=params))
        z, log_det = flow.transform.forward_and_log_det(batch.x)
        base = flow.base.log_prob(z)
        return -(base + log_det).mean(), base.mean()

    arguments = variables.params, variables, batch
    return [
        jax.jit(jax.grad(loss, has_aux=True)).lower(*arguments).compile()
        for loss in (make_loss(flow, "relative"), without_shortcut)
    ], arguments


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_training_takes_the_shortcut_only_where_it_is_the_same_gradient(base, transform):
    programs, arguments = gradients_by(base, transform)
    found, expected = (program(*arguments)[0] for program in programs)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)


def test_training_takes_the_shortcut_where_it_may():
    def saved(base):
        programs, _ = gradients_by(base, "dense last", dim=32)
        found, expected = (program.cost_analysis()["flops"] for program in programs)
        return expected - found

    product = 2 * 7 * 32**2
    assert saved("standard_normal") > 0.9 * product
    assert abs(saved("logistic")) < 0.1 * product
