import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.numerics.mixture_tails import logistic_mixture_tails, mixture_tails


def in_logarithms(u, log_weight, log_scale, axis):
    """The same by the general form, whose hazard for a logistic is its upper tail."""
    parts = jax.nn.log_sigmoid, lambda u: jax.nn.log_sigmoid(-u)
    return mixture_tails(u, log_weight, log_scale, *parts, axis)


@pytest.mark.parametrize("reach", [1.0, 30.0, 1e4])
def test_logistic_tails_are_those_of_the_general_form(reach, x64):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=50) * reach, [0.0, 1.0, -reach, reach]])
    mean, logits, log_scale = np.array([0.0, 1.0, -3.0]), rng.normal(size=3), rng.normal(size=3)

    def values(tails, x, mean, logits, log_scale):
        u = (x[:, None] - mean) * jnp.exp(-log_scale)
        return jnp.stack(tails(u, jax.nn.log_softmax(logits), log_scale, -1))

    arguments = [jnp.asarray(a) for a in (x, mean, logits, log_scale)]
    for function in (values, jax.jacrev(values, argnums=(1, 2, 3, 4))):
        ours, expected = (function(t, *arguments) for t in (logistic_mixture_tails, in_logarithms))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_a_component_without_weight_does_not_empty_a_tail():
    """Left of all, the nearest component has next to none."""
    log_weight = jax.nn.log_softmax(jnp.array([200.0, 0.0]))
    found = logistic_mixture_tails(jnp.array([-300.0, -100.0]), log_weight, jnp.zeros(2), -1)
    assert all(bool(jnp.isfinite(a)) for a in found)
    np.testing.assert_allclose(found.log_rate, 0.0, atol=1e-6)
