"""How well conditioned a flow is, and whether single precision suffices for its likelihoods."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.flow import Flow
from flowzoo.transforms import with_modes
from flowzoo.transforms.linear.dense import dense_layers

ROWS_AT_A_TIME = 500
JACOBIANS = 100  # events at which it is looked at


class Precision(NamedTuple):
    """Mean log-likelihood in nats in both precisions, and the largest difference of one event."""

    float32: float
    float64: float
    largest_difference: float


class SingularValues(NamedTuple):
    """Estimates, for each event, of the largest and the smallest singular value of `∂f/∂x`."""

    largest: np.ndarray
    smallest: np.ndarray

    @property
    def condition(self) -> np.ndarray:
        """`largest / smallest`, `[N]`."""
        return self.largest / self.smallest


def report(flow: Flow, x: np.ndarray, context=None) -> Iterator[str]:
    """Lines on the flow's conditioning at `x: [N, *event_shape]`."""
    for name, number in condition_numbers(flow).items():
        yield f"condition number of {name}: {number:.4g}"
    precision = compare_precisions(flow, x, context)
    yield (
        f"mean log-likelihood of {len(x)} test events: {precision.float32:.4f} nats in float32, "
        f"{precision.float64:.4f} in float64; one event differs by at most "
        f"{precision.largest_difference:.2g}"
    )
    few = x[:JACOBIANS], context if context is None else context[:JACOBIANS]
    values = jacobian_singular_values(flow, few[0], jax.random.key(0), context=few[1])
    yield (
        f"Jacobian at {len(few[0])} test events: singular values from "
        f"{np.median(values.smallest):.3g} to {np.median(values.largest):.3g}, condition number "
        f"{np.median(values.condition):.3g} (medians), at most {values.condition.max():.3g}"
    )


def condition_numbers(flow: Flow) -> dict[str, float]:
    """The condition number of each W, by the path of its layer.

    A stack of layers is listed layer by layer, the number after a colon.
    """
    found = {}
    for path, layer in dense_layers(flow).items():
        name = ".".join(map(str, path))
        weight = np.asarray(layer.weight[...], np.float64)
        if weight.ndim == 2:
            found[name] = float(np.linalg.cond(weight))
        else:
            found |= {f"{name}:{i}": float(c) for i, c in enumerate(np.linalg.cond(weight))}
    return found


def compare_precisions(flow: Flow, x: jax.Array, context=None) -> Precision:
    """The likelihood of `x: [N, *event_shape]` in single and in double precision.

    The parameters are the same numbers in both, and so are the data.
    """
    single = _log_probs(flow, np.asarray(x, np.float32), context)
    with jax.enable_x64(True):
        double = _log_probs(jax.tree.map(_to_float64, flow), np.asarray(x, np.float64), context)
    largest = float(np.abs(single - double).max())
    return Precision(float(single.astype(np.float64).mean()), float(double.mean()), largest)


def _to_float64(a) -> np.ndarray:
    a = np.asarray(a)
    return jnp.asarray(a, np.float64 if np.issubdtype(a.dtype, np.floating) else None)


def _log_probs(flow: Flow, x: np.ndarray, context) -> np.ndarray:
    @jax.jit
    def log_probs(flow, x, context):
        flow = with_modes(flow, factored=True)
        rows = jax.tree.map(jnp.asarray, (x, context))
        return jax.lax.map(lambda r: flow.log_prob(*r), rows, batch_size=ROWS_AT_A_TIME)

    return np.asarray(log_probs(flow, x, context))


def jacobian_singular_values(
    flow: Flow, x: jax.Array, key: jax.Array, *, num_steps: int = 10, context=None
) -> SingularValues:
    """Estimates the extreme singular values of `J = ∂f/∂x` at each event, without forming J.

    Power iteration on `Jᵀ J`, by a Jacobian-vector and a vector-Jacobian product of `f` in each
    step; for the smallest on `(J Jᵀ)⁻¹`, by those of `f⁻¹`. It errs inwards: the true condition
    number is at least the estimate.

    Args:
      flow: a flow.
      x: `[N, *event_shape]`.
      key: draws the starting vectors.
      num_steps: of the iteration.
      context: labels `[N]` or features `[N, C]`, None for an unconditional flow.
    """
    transform = with_modes(flow, factored=True).transform
    context = flow.encode_context(context)

    def largest(f, at):
        _, pull = jax.vjp(f, at)

        def step(v, _):
            image = jax.jvp(f, (at,), (v,))[1]
            length = _norm(image)
            (back,) = pull(image)
            return back / _norm(back), length.reshape(-1)

        v = jax.random.normal(key, at.shape, at.dtype)
        return jax.lax.scan(step, v / _norm(v), length=num_steps)[1][-1]

    @jax.jit
    def both(transform, x, context):
        z = transform.forward(x, context)
        forward = largest(lambda x: transform.forward(x, context), x)
        return forward, 1 / largest(lambda z: transform.inverse(z, context), z)

    return SingularValues(*map(np.asarray, both(transform, jnp.asarray(x), context)))


def _norm(v: jax.Array) -> jax.Array:
    """Euclidean length of each event of `v: [N, *event_shape]`, with axes that broadcast."""
    return jnp.sqrt((v * v).sum(tuple(range(1, v.ndim)), keepdims=True))
