"""Convolutional flows as the fully connected flows that they are."""

from collections.abc import Callable, Iterator
import functools
import json
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.flow import Flow
from flowzoo.transforms import (
    Chain,
    Dense,
    PeriodicConv,
    Reshape,
    Squeeze,
    Standardize,
    Transform,
    ZeroPaddedConv,
)
from flowzoo.transforms.stack import repeated
from flowzoo.transforms.transform import mark_fitted
from flowzoo.zoo import maps
from flowzoo.zoo.fully_connected_learned import STACK_FROM

LINEAR = (Reshape, Squeeze, PeriodicConv, ZeroPaddedConv)


def unfolded(flow: Flow) -> Flow:
    """A `convolutional` flow as a `fully_connected_learned` one with the same density.

    A convolution is a dense layer, `z = W x + b`, many of whose weights are equal or zero. Here
    they are free: training that starts from this flow can do what no convolution can. The maps
    between the layers stay as they are; the first and the last map of the fully connected flow,
    which the other one has not, start at the identity.

    Args:
      flow: what the recipe `convolutional` built, without a context.

    Raises:
      ValueError: if it is another flow.
    """
    model = json.loads(flow.recipe)["model"] if flow.recipe else {"name": "none of the zoo's"}
    if model["name"] != "convolutional" or flow.context is not None:
        raise ValueError(
            f"unfolded got the model {model['name']}"
            f"{'' if flow.context is None else ' with a context'}, expected convolutional without "
            "one."
        )
    from flowzoo.zoo import build

    outer = maps.complete("outer", {"name": "spline", "init": "identity"}, maps.LEARNED)
    twin = build(
        {
            "name": "fully_connected_learned",
            "num_layers": model["num_blocks"] * model["num_layers"],
            "inner": model["inner"],
            "outer": outer,
            "whiten": False,
            "standardize": model["standardize"],
        },
        flow.event_shape,
        rngs=0,
    )
    transforms = list(_flat(flow.transform))
    inner = functools.partial(maps.make, model["inner"], flow.event_shape)
    *blocks, last = _blocks(transforms, inner)
    first, end = (maps.make(outer, flow.event_shape) for _ in range(2))
    filled = Chain([first, *repeated(blocks, STACK_FROM), *last, end])
    if isinstance(transforms[0], Standardize):
        filled = Chain([transforms[0], filled])
    nnx.update(twin.transform, nnx.state(filled))
    mark_fitted(twin)
    return twin


def _flat(transform: Transform) -> Iterator[Transform]:
    if isinstance(transform, Chain):
        for part in transform.transforms:
            yield from _flat(part)
    else:
        yield transform


def _blocks(
    transforms: list[Transform], make_map: Callable[[], Transform]
) -> Iterator[list[Transform]]:
    """Dense layers, each in the place of all linear transforms in a row, and the map behind each.

    The last one has no map behind it.
    """
    row: list[Transform] = []
    for transform in transforms:
        if isinstance(transform, LINEAR):
            row.append(transform)
        elif not isinstance(transform, Standardize):
            like = make_map()
            state, values = nnx.state(like), jax.tree.leaves(nnx.state(transform))
            shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
            flat = [value.reshape(shape) for value, shape in zip(values, shapes, strict=True)]
            nnx.update(like, jax.tree.unflatten(jax.tree.structure(state), flat))
            yield [_dense(row), like]
            row = []
    yield [_dense(row)]


def _dense(row: list[Transform]) -> Dense:
    """The dense layer, of vectors, that a row of linear transforms is."""
    row_of = Chain(row)
    dim = math.prod(row_of.event_shape)
    layer = Dense(dim, init="identity", rngs=nnx.Rngs(0))
    inputs = jnp.concatenate([jnp.zeros((1, dim)), jnp.eye(dim)])
    outputs = row_of.forward(inputs.reshape(-1, *row_of.event_shape)).reshape(dim + 1, dim)
    layer.bias[...] = outputs[0]
    layer.weight[...] = (outputs[1:] - outputs[0]).T
    return layer
