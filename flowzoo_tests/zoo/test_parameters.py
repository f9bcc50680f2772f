"""Baselines with as many parameters as another model."""

import math

from flax import nnx
import jax
import pytest

import flowzoo
from flowzoo.context import Labels
from flowzoo.zoo.parameters import SMALLEST_WIDTH, match_parameters, num_parameters

BASELINES = ["made", "made_mog", "maf", "maf_mog", "real_nvp"]


def true_count(config, event_shape):
    """The number of numbers that an optimizer would be given."""

    def parameters():
        flow = flowzoo.build(config, event_shape, rngs=nnx.Rngs(0))
        return nnx.to_pure_dict(nnx.state(flow, nnx.Param))

    return sum(math.prod(a.shape) for a in jax.tree.leaves(jax.eval_shape(parameters)))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", BASELINES)
def test_no_other_width_is_closer(name, depth):
    target = 2 * (20**2 + 20)
    config = match_parameters({"name": name, "hidden_sizes": (512,) * depth}, (20,), target)
    sizes = config["hidden_sizes"]
    assert len(sizes) == depth and len(set(sizes)) == 1
    distance = abs(true_count(config, (20,)) - target)
    for width in (sizes[0] - 1, sizes[0] + 1):
        if width >= SMALLEST_WIDTH:
            neighbour = config | {"hidden_sizes": (width,) * depth}
            assert abs(true_count(neighbour, (20,)) - target) >= distance


def test_a_built_model_has_the_parameters_that_were_counted():
    config = {"name": "real_nvp", "num_layers": 2, "hidden_sizes": (7,)}
    flow = flowzoo.build(config, (5,), rngs=nnx.Rngs(0))
    networks = (3 * 7 + 7 + 7 * 2 + 2) + (2 * 7 + 7 + 7 * 3 + 3)
    assert num_parameters(flow) == 2 * networks + 2 * (5 + 5)
    assert match_parameters(config, (5,), num_parameters(flow)) == config


def test_a_published_size():
    """As many parameters as the two layers of the relative-gradient flow on MNIST."""
    config = match_parameters({"name": "real_nvp", "num_layers": 5}, (784,), 2 * (784**2 + 784))
    assert abs(true_count(config, (784,)) / (2 * (784**2 + 784)) - 1) < 0.01


def test_context_and_random_degrees_are_counted():
    config = {"name": "maf", "hidden_sizes": [9, 9], "degrees": "random", "num_layers": 2}
    counted = {
        context: match_parameters(config, (6,), 5_000, context=context)
        for context in (None, Labels(10))
    }
    assert counted[None]["hidden_sizes"] > counted[Labels(10)]["hidden_sizes"]
    assert all(found["degrees"] == "random" for found in counted.values())


def test_bad_input_is_told_what_was_expected():
    with pytest.raises(ValueError, match="hidden_sizes"):
        match_parameters({"name": "fully_connected"}, (4,), 100)
    with pytest.raises(ValueError, match="Did you mean 'maf'"):
        match_parameters({"name": "mafs"}, (4,), 100)
    with pytest.raises(ValueError, match="hidden_size"):
        match_parameters({"name": "maf", "hiden_sizes": (4,)}, (4,), 100)
