"""What a training step keeps of activations changes its memory and no number."""

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Labels
from flowzoo.training.state import split
from flowzoo.training.step import Batch, make_loss
from flowzoo.transforms.activations import ACTIVATIONS

ACROSS = (dict(name="divisive_normalization"),)
COUPLINGS = dict(name="real_nvp", num_layers=3, hidden_sizes=(5,), batch_norm=False)
TANH = dict(name="learned_tanh_mix")
STACK = dict(
    name="fully_connected_learned", num_layers=4, inner=TANH, whiten=False, after_dense=ACROSS
)
GLOW = dict(name="glow", image_shape=(4, 4, 1), num_steps=1, hidden_channels=3, num_blocks=1)


def gradient_of(flow, activations, num_rows, num_classes=None):
    """The gradient of a training step's loss as a function of the parameters, and these."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(num_rows, *flow.event_shape)))
    labels = None if num_classes is None else jnp.arange(num_rows) % num_classes
    variables = split(flow)[1]
    loss = make_loss(flow, "relative", activations=activations)
    batch = Batch(x.astype(jax.tree.leaves(variables.params)[0].dtype), labels)
    return jax.grad(lambda params: loss(params, variables, batch)[0]), variables.params


@pytest.mark.parametrize(
    ("model", "dim", "num_classes"), [(COUPLINGS, 4, 3), (STACK, 3, 2), (GLOW, 16, None)]
)
def test_gradients_are_the_same(x64, model, dim, num_classes):
    context = None if num_classes is None else Labels(num_classes)
    flow = flowzoo.build(model, (dim,), context=context, rngs=0)
    state = nnx.state(flow, nnx.Param)
    rng = np.random.default_rng(1)
    nnx.update(flow, jax.tree.map(lambda a: jnp.asarray(a + 0.1 * rng.normal(size=a.shape)), state))
    found = {}
    for activations in ACTIVATIONS:
        gradient, params = gradient_of(flow, activations, 6, num_classes)
        found[activations] = jax.jit(gradient)(params)
    for activations in ACTIVATIONS[1:]:
        chex.assert_trees_all_close(found[activations], found["kept"], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("model", [COUPLINGS | dict(num_layers=8, hidden_sizes=(64,)), STACK])
def test_a_step_needs_less_memory(model):
    flow = flowzoo.build(model | dict(num_layers=8), (4,), rngs=0)
    memory = {}
    for activations in ACTIVATIONS:
        gradient, params = gradient_of(flow, activations, 500)
        analysis = jax.jit(gradient).lower(params).compile().memory_analysis()
        memory[activations] = analysis.temp_size_in_bytes
    assert memory["recomputed"] < 0.7 * memory["kept"]
    assert memory["inverted"] < memory["recomputed"]


def test_layers_that_normalise_by_batches_are_not_inverted():
    flow = flowzoo.build("real_nvp", (4,), rngs=0)
    with pytest.raises(ValueError, match="BatchNorm, whose inverse.*choose 'recomputed'"):
        make_loss(flow, "relative", activations="inverted")
