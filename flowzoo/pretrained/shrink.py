"""What a checkpoint need not hold: the same density from fewer numbers."""

from collections.abc import Mapping
from typing import Any

from flax import nnx
import jax.numpy as jnp
import numpy as np

from flowzoo.flow import Flow
from flowzoo.nets.degrees import masks
from flowzoo.nets.masked_mlp import MaskedMLP
from flowzoo.transforms import Chain, Dense, Whiten


def shrink(flow: Flow, model: Mapping[str, Any]) -> tuple[Flow, dict[str, Any]]:
    """A copy of a flow for inference, and the options of `flowzoo.build` that make its like.

    A whitening before a dense layer becomes part of that layer, and weights under masks become
    zero, which compresses well.
    """
    model, flow = dict(model), nnx.clone(flow)
    if model.get("whiten") and (transform := _without_whitening(flow.transform)) is not None:
        model["whiten"] = False
        flow = Flow(flow.base, transform, flow.context)
    for _, module in nnx.iter_modules(flow):
        if isinstance(module, MaskedMLP):
            _clear_masked(module)
    return flow, model


def _without_whitening(chain: Chain) -> Chain | None:
    """`W (A (x − μ)) + b` as one layer of weight `W A` and bias `b − W A μ`, formed in float64."""
    if not isinstance(chain, Chain) or len(chain.transforms) < 2:
        return None
    whiten, dense = chain.transforms[:2]
    if not (isinstance(whiten, Whiten) and isinstance(dense, Dense)):
        return None
    if dense.bias is None and np.any(whiten.mean[...]):
        return None
    weight = (
        np.asarray(dense.weight[...], np.float64) @ np.asarray(whiten.weight[...], np.float64).T
    )
    if dense.bias is not None:
        shift = weight @ np.asarray(whiten.mean[...], np.float64)
        dense.bias[...] = jnp.asarray(dense.bias[...] - shift, dense.bias.dtype)
    dense.weight[...] = jnp.asarray(weight, dense.weight.dtype)
    return Chain(list(chain.transforms)[1:])


def _clear_masked(net: MaskedMLP) -> None:
    hidden_masks, output_mask = masks([each[...] for each in net.degrees], net.dim)
    for weight, mask in zip(net.weights, hidden_masks, strict=True):
        weight[...] = weight[...] * mask
    net.output_weight[...] = net.output_weight[...] * output_mask
