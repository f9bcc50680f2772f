"""The same density from numbers that compress well, which is what a checkpoint holds."""

import itertools

from flax import nnx
import jax.numpy as jnp
import numpy as np

from flowzoo.flow import Flow
from flowzoo.nets.degrees import masks
from flowzoo.nets.masked_mlp import MaskedMLP
from flowzoo.transforms import Chain, Dense, DivisiveNormalization, Transform, Whiten
from flowzoo.transforms.stack import Stack


def shrink(flow: Flow) -> Flow:
    """A copy of a flow, for inference, with the same structure and many zeros.

    A whitening becomes the identity, and the dense layer after it takes its place; weights under
    masks, and gains of divisive normalizations that do not count, become zero.
    """
    flow = nnx.clone(flow)
    if isinstance(flow.transform, Chain):
        for one, following in itertools.pairwise(flow.transform.transforms):
            if isinstance(one, Whiten):
                _merge(one, following)
    for _, module in nnx.iter_modules(flow):
        if isinstance(module, MaskedMLP):
            _clear_masked(module)
        if isinstance(module, DivisiveNormalization):
            gain = module.gain[...]
            module.gain[...] = jnp.triu(gain, 1) if module.reverse else jnp.tril(gain, -1)
    return flow


def _merge(whiten: Whiten, following: Transform) -> None:
    """`W (A (x − μ)) + b` as one layer of weight `W A` and bias `b − W A μ`, formed in float64."""
    dense, place = following, ...
    if isinstance(following, Stack):
        # The first layer of a stack is the first entry of its arrays.
        dense, place = following.layers, (0, ...)
        if isinstance(dense, Chain):
            dense = dense.transforms[0]
    if not isinstance(dense, Dense):
        return
    mean, a = (np.asarray(v[...], np.float64) for v in (whiten.mean, whiten.weight))
    if dense.bias is None and np.any(mean):
        return
    weight = np.asarray(dense.weight[place], np.float64) @ a.T
    dense.weight[place] = jnp.asarray(weight, dense.weight.dtype)
    if dense.bias is not None:
        bias = np.asarray(dense.bias[place], np.float64) - weight @ mean
        dense.bias[place] = jnp.asarray(bias, dense.bias.dtype)
    identity = Whiten(whiten.event_shape[0])
    nnx.update(whiten, nnx.state(identity))


def _clear_masked(net: MaskedMLP) -> None:
    hidden_masks, output_mask = masks([each[...] for each in net.degrees], net.dim)
    for weight, mask in zip(net.weights, hidden_masks, strict=True):
        weight[...] = weight[...] * mask
    net.output_weight[...] = net.output_weight[...] * output_mask
