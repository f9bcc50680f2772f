from flax import nnx
import jax
import numpy as np

import flowzoo
from flowzoo import bases
from flowzoo.reporting import diagnostics
from flowzoo.transforms import Chain, Dense, Radial, RationalQuadraticSpline, Stack
from flowzoo_tests.perturb import perturbed


def small_flow(dim=3):
    rngs = nnx.Rngs(0)
    blocks = [Chain([Dense(dim, rngs=rngs), Radial(dim)]) for _ in range(3)]
    transform = Chain([RationalQuadraticSpline((dim,)), Dense(dim, rngs=rngs), Stack(blocks)])
    return perturbed(flowzoo.Flow(bases.StandardNormal((dim,)), transform))


def test_condition_numbers_are_those_of_every_matrix():
    flow = small_flow()
    flow.transform.transforms[1].weight[...] = np.diag([4.0, 1.0, 0.5])
    numbers = diagnostics.condition_numbers(flow)
    assert len(numbers) == 4
    np.testing.assert_allclose(numbers["transform.transforms.1"], 8)
    last = flow.transform.transforms[2].layers.transforms[0].weight[2]
    np.testing.assert_allclose(list(numbers.values())[-1], np.linalg.cond(last), rtol=1e-5)


def test_singular_values_are_those_of_the_jacobian(x64):
    flow = small_flow()
    x = np.random.default_rng(0).normal(size=(4, 3))
    found = diagnostics.jacobian_singular_values(flow, x, jax.random.key(0), num_steps=200)
    jacobians = jax.vmap(jax.jacfwd(flow.transform.forward))(x)
    expected = np.linalg.svd(jacobians, compute_uv=False)
    np.testing.assert_allclose(found.largest, expected[:, 0], rtol=1e-3)
    np.testing.assert_allclose(found.smallest, expected[:, -1], rtol=1e-3)
    np.testing.assert_allclose(found.condition, found.largest / found.smallest)


def test_single_precision_agrees_with_double():
    flow = small_flow()
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    precision = diagnostics.compare_precisions(flow, x)
    assert 0 < precision.largest_difference < 1e-4
    assert abs(precision.float32 - precision.float64) <= precision.largest_difference
