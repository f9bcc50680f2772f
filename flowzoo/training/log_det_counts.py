"""How a log-likelihood holds the log-determinants of its dense layers."""

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.context import Labels
from flowzoo.flow import Flow
from flowzoo.numerics.named_arrays import to_arrays
from flowzoo.training.state import split
from flowzoo.training.step import Batch, make_loss
from flowzoo.transforms.linear.dense import dense_weights


def log_det_counts(flow: Flow) -> dict[str, float]:
    """How often, and with which sign, `log|det W|` of each dense layer is in the log-likelihood.

    1 for a layer, −1 for one that an `Inverse` uses backwards, H W for one that a convolution
    applies to H × W pixels. It is the derivative of the training loss itself, so that no use of a
    layer is overlooked. For `scale_by_relative_gradient`, which adds these terms' gradients where
    the rule `data_terms` has left them out.

    Returns:
      The counts by the path of the layer's weight.

    Raises:
      ValueError: if the log-determinant of a layer is not in the likelihood.
    """
    weights = dense_weights(flow)
    if not weights:
        return {}
    loss = make_loss(flow, "log_det_count")
    batch = Batch(jnp.zeros((1, *flow.event_shape)), _any_label(flow))

    @jax.jit
    def count(params, variables):
        gradients, _ = jax.grad(loss, has_aux=True)(params, variables, batch)
        arrays = to_arrays(gradients)
        return {weight: 0 - arrays[weight][..., 0, 0] for weight in weights}

    variables = split(flow)[1]
    counts = {}
    for weight, values in jax.device_get(count(variables.params, variables)).items():
        # The layers of a `Stack`, whose weights are one array, are used alike.
        counts[weight] = float(np.ravel(values)[0])
        if not np.all(values == counts[weight]) or counts[weight] == 0:
            raise ValueError(
                f"log|det W| of {weight} counts {np.unique(values).tolist()} times in the "
                "log-likelihood, expected one number other than zero: its gradient cannot be "
                "added afterwards; train with config.gradient='relative'."
            )
    return counts


def _any_label(flow: Flow) -> jax.Array | None:
    if flow.context is None:
        return None
    if isinstance(flow.context, Labels):
        return jnp.zeros(1, int)
    return jnp.zeros((1, flow.context.size))
