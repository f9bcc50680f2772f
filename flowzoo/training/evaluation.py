"""Log-likelihoods of whole splits."""

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
import numpy as np

from flowzoo.flow import Flow
from flowzoo.training.devices import AXIS
from flowzoo.transforms.dense import factored

ROWS_AT_A_TIME = 1000


class Summary(NamedTuple):
    """Mean log-likelihood in nats and twice its standard error."""

    mean: float
    two_standard_errors: float


def summarize(log_probs: np.ndarray) -> Summary:
    """Mean and 2 s.e. of `log_probs: [N]`, in float64."""
    log_probs = np.asarray(log_probs, np.float64)
    deviation = log_probs.std(ddof=1) if len(log_probs) > 1 else math.nan
    return Summary(float(log_probs.mean()), float(2 * deviation / math.sqrt(len(log_probs))))


def make_log_probs(mesh: Mesh, *, over_labels: int | None = None) -> Callable:
    """Builds `log_probs(flow, x, labels) -> [N]` over all devices; each W is factored once.

    Args:
      mesh: from `make_mesh`.
      over_labels: if given, the number K of classes of a conditional flow, whose labels are summed
        out under a uniform prior, `log (1/K) Σ_y p(x | y)`; `labels` are then ignored.
    """

    def log_prob(flow: Flow, x, label):
        if over_labels is None:
            return flow.log_prob(x, label)
        each = jax.vmap(lambda y: flow.log_prob(x, y))(jnp.arange(over_labels))
        return jax.nn.logsumexp(each) - math.log(over_labels)

    def on_device(flow: Flow, x, labels):
        flow = factored(flow)
        rows = min(ROWS_AT_A_TIME // (over_labels or 1), len(x))
        values = jax.lax.map(lambda row: log_prob(flow, *row), (x, labels), batch_size=rows)
        return jax.lax.all_gather(values, AXIS, tiled=True)

    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    sharded = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(everywhere, split, split),
        out_specs=everywhere,
        check_vma=False,
    )

    @jax.jit
    def log_probs(flow: Flow, x: jax.Array, labels: jax.Array | None) -> jax.Array:
        padding = -len(x) % mesh.size

        def pad(a):
            return jnp.concatenate([a, jnp.repeat(a[:1], padding, 0)])

        return sharded(flow, *jax.tree.map(pad, (x, labels)))[: len(x)]

    return log_probs
