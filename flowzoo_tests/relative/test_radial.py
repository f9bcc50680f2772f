import chex
import jax
import jax.numpy as jnp
import pytest

from flowzoo.relative import affine, log_abs_det


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
