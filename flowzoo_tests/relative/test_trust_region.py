import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo.relative import limit_relative_change


def test_a_hostile_learning_rate_never_makes_a_matrix_singular(x64):
    """100 steps of plain descent at a rate that leaves the invertible matrices in the first one."""
    x = jax.random.normal(jax.random.key(0), (200, 4)) @ jnp.diag(jnp.array([5.0, 1, 1, 0.2]))

    def loss(params):
        z = jnp.einsum("kij,nj->kni", params["w"], x)
        log_det = jnp.linalg.slogdet(params["w"])[1]
        return (0.5 * (z**2).sum(-1).mean(-1) - log_det).sum()

    def run(optimizer):
        params = {"w": jnp.stack([jnp.eye(4), 3 * jnp.eye(4)])}
        state, signs = optimizer.init(params), []
        for _ in range(100):
            before = params["w"]
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            params = optax.apply_updates(params, updates)
            signs.append(np.linalg.slogdet(params["w"])[0])
            changes.append(np.linalg.norm(updates["w"] @ jnp.linalg.inv(before), axis=(-2, -1)))
        return np.array(signs)

    changes = []
    assert np.any(run(optax.sgd(10.0)) != 1)
    changes = []
    assert np.all(run(optax.chain(optax.sgd(10.0), limit_relative_change("w", 0.3))) == 1)
    assert np.max(changes) <= 0.3 and np.max(changes) > 0.29


def test_short_steps_and_other_parameters_pass_unchanged():
    limit = limit_relative_change("w", 0.5)
    params = {"w": 2 * jnp.eye(3), "net": jnp.ones((3, 3))}
    updates = {"w": jnp.full((3, 3), 0.01), "net": jnp.full((3, 3), 1e6)}
    kept, _ = limit.update(updates, limit.init(params), params)
    np.testing.assert_array_equal(kept["w"], updates["w"])
    np.testing.assert_array_equal(kept["net"], updates["net"])


@pytest.mark.parametrize("max_change", [0.0, 1.0, -1.0])
def test_refuses_a_limit_that_guarantees_nothing(max_change):
    with pytest.raises(ValueError, match="between 0 and 1"):
        limit_relative_change("w", max_change)
