"""Convolutional flows as fully connected ones."""

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Labels
from flowzoo.transforms import Dense
from flowzoo.zoo.unfolded import unfolded
from flowzoo_tests.perturb import perturbed

MODEL = dict(name="convolutional", image_shape=(4, 4, 2), num_blocks=2, num_layers=2)


def convolutional(context=None, **options):
    return flowzoo.build(MODEL | options, (32,), context=context, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("padding", "standardize", "num_layers"),
    [("periodic", True, 2), ("zeros", False, 2), ("zeros", True, 3)],
)
def test_an_unfolded_flow_is_the_same_map_of_dense_layers(
    padding, standardize, num_layers, tmp_path
):
    flow = convolutional(padding=padding, standardize=standardize, num_layers=num_layers)
    x = 2 * np.random.default_rng(0).normal(size=(500, 32)).astype(np.float32) + 1
    flow.initialize(x)
    flow = perturbed(flow, scale=0.05)
    dense = unfolded(flow)
    np.testing.assert_allclose(dense.log_prob(x), flow.log_prob(x), rtol=1e-5, atol=1e-4)
    z, expected = dense.transform.forward(x), flow.transform.forward(x)
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-4)
    weights = [m.weight for _, m in nnx.iter_modules(dense) if isinstance(m, Dense)]
    assert sum(weight.size for weight in weights) == 2 * num_layers * 32**2
    # It has a recipe, which training and files need.
    flowzoo.save(dense, tmp_path / "dense.safetensors")
    again = flowzoo.load(tmp_path / "dense.safetensors")
    np.testing.assert_array_equal(again.log_prob(x[:5]), dense.log_prob(x[:5]))


def test_weights_that_a_convolution_shares_become_free():
    flow = convolutional(padding="zeros")
    gradient = nnx.grad(lambda flow, x: flow.log_prob(x).mean())
    x = np.random.default_rng(0).normal(size=(50, 32)).astype(np.float32)
    free = sum(leaf.size for leaf in jax.tree.leaves(gradient(unfolded(flow), x)))
    shared = sum(leaf.size for leaf in jax.tree.leaves(gradient(flow, x)))
    assert free > shared + 3 * 32**2


def test_other_flows_are_refused():
    with pytest.raises(ValueError, match="got the model made, expected convolutional"):
        unfolded(flowzoo.build("made", (32,), rngs=0))
    with pytest.raises(ValueError, match="convolutional with a context, expected"):
        unfolded(convolutional(Labels(3)))
