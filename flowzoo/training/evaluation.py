"""Log-likelihoods of whole splits."""

from collections.abc import Callable
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from flowzoo.data.dataset import Dataset, bits_per_dim
from flowzoo.flow import Flow
from flowzoo.numerics.separation import mcc
from flowzoo.training.devices import DATA, make_mesh, replicate
from flowzoo.transforms import with_modes
from flowzoo.zoo.parameters import num_parameters

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

    def log_prob(flow: Flow, x, labels):
        if over_labels is None:
            return flow.log_prob(x, labels)
        each = jax.vmap(lambda y: flow.log_prob(x, y))(jnp.arange(over_labels))
        return jax.nn.logsumexp(each, axis=0) - math.log(over_labels)

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
    def log_probs(flow: Flow, x: jax.Array, labels: jax.Array | None) -> jax.Array:
        flow = with_modes(flow, factored=True)
        parts = mesh.shape[DATA]
        chunk = min(ROWS_AT_A_TIME // (over_labels or 1), -(-len(x) // parts)) * parts
        num_chunks = -(-len(x) // chunk)

        def chunks(a):
            padding = jnp.repeat(a[:1], num_chunks * chunk - len(a), 0)
            a = jnp.concatenate([a, padding]).reshape(num_chunks, chunk, *a.shape[1:])
            # Each device takes its part of each chunk.
            return jax.lax.with_sharding_constraint(
                a, NamedSharding(mesh, PartitionSpec(None, DATA))
            )

        chunked = jax.tree.map(chunks, (x, labels))
        with jax.default_matmul_precision("float32"):
            values = jax.lax.map(lambda chunk: log_prob(flow, *chunk), chunked)
        return values.reshape(-1)[: len(x)]

    return log_probs


# Validation and test noise: the same whatever the run's seed, so that results compare.
EVALUATION_SEED = 0


SPLITS = ("train", "validation", "test")


def evaluation_key(split: str) -> jax.Array:
    """The key of a split's dequantization noise."""
    return jax.random.fold_in(jax.random.key(EVALUATION_SEED), SPLITS.index(split))


def test_results(flow: Flow, dataset: Dataset) -> dict[str, Any]:
    """The test log-likelihood of a flow, and what is known to compare it with.

    A class-conditional flow is scored by `log (1/K) Σ_y p(x | y)`, its labels summed out.

    Returns:
      `log_likelihood_nats`, `two_standard_errors`, `bits_per_dim` (images only), `num_parameters`
      and `mcc`, the mean correlation of the latents with the true sources (mixtures only).
    """
    mesh = make_mesh()
    over_labels = None if flow.context is None else dataset.num_classes
    x = dataset.model_space("test", evaluation_key("test"))
    log_probs = make_log_probs(mesh, over_labels=over_labels)
    values = np.asarray(log_probs(replicate(flow, mesh), replicate(x, mesh), None))
    mean, two_standard_errors = summarize(values)
    results = {
        "log_likelihood_nats": mean,
        "two_standard_errors": two_standard_errors,
        "num_parameters": num_parameters(flow),
    }
    if dataset.bits_per_dim:
        log_det = -jax.jit(dataset.preprocessing.inverse_and_log_det)(x)[1]
        results["bits_per_dim"] = float(bits_per_dim(values, log_det, x[0].size).mean())
    if (sources := dataset.test.sources) is not None:
        context = None if flow.context is None else dataset.test.labels
        results["mcc"] = mcc(sources, latents(flow, x, context))
    return results


@jax.jit
def latents(flow: Flow, x: jax.Array, context: jax.Array | None) -> jax.Array:
    """z of `x: [N, *event_shape]` in model space."""
    return flow.transform.forward(x, flow.encode_context(context))
