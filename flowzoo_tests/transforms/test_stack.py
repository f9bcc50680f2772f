import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo.bases.factorial import StandardNormal
from flowzoo.flow import Flow
from flowzoo.relative import scale_by_relative_gradient
from flowzoo.training.log_det_counts import log_det_counts
from flowzoo.training.state import split
from flowzoo.training.step import Batch, make_loss
from flowzoo.transforms import (
    BatchNorm,
    Chain,
    Dense,
    MaskedAutoregressive,
    SmoothLeakyReLU,
    Stack,
    Triangular,
    with_modes,
)
from flowzoo.transforms.linear.dense import check_invertible
from flowzoo.transforms.stack import STACK_FROM, repeated
from flowzoo.transforms.transform import rows_used


def blocks(num_layers, dim=4):
    rngs = nnx.Rngs(0)
    return [
        Chain([Dense(dim, rngs=rngs), SmoothLeakyReLU((dim,)), BatchNorm((dim,))])
        for _ in range(num_layers)
    ]


def points(shape=(20, 4), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gradients(transform, rule):
    flow = Flow(StandardNormal((4,)), transform)
    params, *others = variables = split(flow)[1]
    batch = Batch(points(), None)
    return params, jax.grad(make_loss(flow, rule), has_aux=True)(params, variables, batch)[0]


def stacked(chain):
    """The arrays of a chain of equal blocks, stacked."""
    return jax.tree.map(lambda *a: jnp.stack(a), *(nnx.state(block) for block in chain.transforms))


@pytest.mark.parametrize("rule", ["ordinary", "relative", "data_terms"])
def test_gradients_are_those_of_the_chain(rule):
    chain, stack = Chain(blocks(3)), Stack(blocks(3))
    in_chain, in_stack = gradients(chain, rule)[1], gradients(stack, rule)[1]
    nnx.update(chain, in_chain["transform"])
    nnx.update(stack, in_stack["transform"])
    expected, got = (nnx.to_pure_dict(s) for s in (stacked(chain), nnx.state(stack.layers)))
    chex.assert_trees_all_close(got, expected, rtol=1e-4, atol=1e-5)


def test_the_optax_transformation_takes_the_same_step():
    params, fused = gradients(Stack(blocks(3)), "relative")
    data_terms = gradients(Stack(blocks(3)), "data_terms")[1]
    flow = Flow(StandardNormal((4,)), Stack(blocks(3)))
    ((path, count),) = log_det_counts(flow).items()
    relative = scale_by_relative_gradient(path, layout="out_in", add_log_det=count)
    chained = relative.update(data_terms, relative.init(params), params)[0]
    chex.assert_trees_all_close(chained, fused, rtol=1e-4, atol=1e-5)
    assert not np.allclose(optax.global_norm(chained), optax.global_norm(data_terms))


def test_factored_likelihoods_are_the_same():
    stack = Stack(blocks(3))
    x = points()
    found = with_modes(stack, factored=True).forward_and_log_det(x)
    chex.assert_trees_all_close(found, stack.forward_and_log_det(x), rtol=1e-5)


def test_a_singular_layer_is_found():
    stack = Stack(blocks(3))
    check_invertible(stack)
    weight = stack.layers.transforms[0].weight
    weight[...] = weight[...].at[1].set(0.0)
    with pytest.raises(ValueError, match="layers.transforms.0 is singular"):
        check_invertible(stack)


def test_each_layer_is_initialised_on_what_reaches_it():
    x = points((500, 4)) * [1, 10, 0.1, 3] + 2
    stack = Stack([Chain([Triangular(4), SmoothLeakyReLU((4,))]) for _ in range(3)])
    assert rows_used(stack) is None
    z = stack.initialize(x)
    np.testing.assert_allclose(z, stack.forward(x), rtol=1e-4, atol=1e-4)
    last = stack.layer(2).transforms[0].forward(Chain([stack.layer(i) for i in (0, 1)]).forward(x))
    np.testing.assert_allclose(np.cov(last.T), np.eye(4), atol=1e-2)


def test_each_layer_gets_the_statistics_of_what_reaches_it():
    x = points((500, 4)) * 3 + 1
    chain, stack = Chain(blocks(3)), Stack(blocks(3))
    expected = chain.update_statistics(x)
    got = jax.jit(lambda stack: (stack.update_statistics(x), stack))(stack)
    np.testing.assert_allclose(got[0], expected, rtol=1e-3, atol=1e-3)
    for i, block in enumerate(chain.transforms):
        np.testing.assert_allclose(
            got[1].layer(i).transforms[2].mean[...], block.transforms[2].mean[...], rtol=1e-3
        )


def test_a_context_may_bring_batch_axes_and_arrays_a_dtype(x64):
    rngs = nnx.Rngs(0)
    layers = [
        MaskedAutoregressive(4, hidden_sizes=(5,), context_size=2, rngs=rngs) for _ in range(2)
    ]
    stack, chain = Stack(layers), Chain(layers)
    x, context = np.ones(4, np.float32), points((3, 2))
    chex.assert_trees_all_close(
        stack.forward_and_log_det(x, context), chain.forward_and_log_det(x, context)
    )
    z = stack.forward(x, context)
    assert z.dtype == jnp.float64
    np.testing.assert_allclose(stack.inverse(z, context), np.broadcast_to(x, (3, 4)), rtol=1e-6)


def test_the_program_does_not_grow_with_depth():
    def size(num_layers):
        stack = Stack(blocks(num_layers))
        gradient = jax.grad(lambda stack, x: stack.forward_and_log_det(x)[1].sum())
        return len(jax.jit(gradient).lower(stack, points()).as_text())

    assert size(50) < 1.02 * size(3)


def test_blocks_are_stacked_where_there_are_many():
    few, many = (repeated([list(b.transforms) for b in blocks(n, 2)]) for n in (3, STACK_FROM))
    assert len(few) == 9 and len(many) == 1
    x = points((5, 2))
    deep = Chain(blocks(STACK_FROM, 2))
    np.testing.assert_allclose(many[0].forward(x), deep.forward(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("transforms", "sentence"),
    [
        (lambda: [], "no transforms"),
        (lambda: [SmoothLeakyReLU((3,)), SmoothLeakyReLU((3,), alpha=0.5)], "transform 1 differs"),
        (lambda: [*blocks(1, 3), *blocks(1, 4)], "transform 1 differs"),
    ],
)
def test_transforms_that_do_not_stack(transforms, sentence):
    with pytest.raises(ValueError, match=sentence):
        Stack(transforms())
