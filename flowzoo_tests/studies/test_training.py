from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo import bases
from flowzoo.flow import Flow
from flowzoo.studies.training import condition_numbers, stack, train
from flowzoo.transforms import Chain, Dense, SmoothLeakyReLU

SCALES = jnp.array([[1.0, 0.2], [3.0, 1.0]])


def make(seed):
    dense = Dense(2, init="identity", rngs=nnx.Rngs(seed))
    return Flow(bases.StandardNormal((2,)), Chain([dense]))


def draw(scale, key):
    return scale * jax.random.normal(key, (64, 2))


@pytest.mark.parametrize("rule", ["ordinary", "relative"])
def test_each_flow_learns_its_own_data(rule):
    start = stack([make(0), make(1)])

    def each(flows):
        return np.asarray(flows.map(lambda flow: flow.log_prob(jnp.ones(2))))

    flows, reports = train(
        start, draw, SCALES, steps=400, rate=0.05, rule=rule, epochs=2, each=each
    )
    for i in range(2):
        weight = np.asarray(flows[i].transform.transforms[0].weight[...])
        found = np.linalg.inv(weight.T @ weight)
        np.testing.assert_allclose(found, np.diag(SCALES[i] ** 2), atol=0.12 * SCALES[i].max() ** 2)
    assert len(reports) == 3 and reports[0].shape == (2,)
    assert flows[0].transform.transforms[0].gradient_rule == "ordinary"


def test_flows_of_other_structure_are_refused():
    other = Flow(bases.StandardNormal((2,)), Chain([SmoothLeakyReLU((2,))]))
    with pytest.raises(ValueError, match="differ in structure"):
        stack([make(0), other])


def test_condition_numbers_are_those_of_the_jacobian():
    dense = Dense(3, rngs=nnx.Rngs(0))
    weight = np.diag([1.0, 10.0, 0.5]) @ np.asarray(dense.weight[...])
    dense.weight[...] = jnp.asarray(weight)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    np.testing.assert_allclose(condition_numbers(dense, x), 20, rtol=1e-4)
    bent = condition_numbers(Chain([dense, SmoothLeakyReLU((3,), alpha=0.1)]), x)
    slopes = np.asarray(
        jax.vmap(jax.jacfwd(SmoothLeakyReLU((3,), alpha=0.1).forward))(x @ weight.T)
    )
    np.testing.assert_allclose(bent, np.linalg.cond(slopes @ weight), rtol=1e-3)
