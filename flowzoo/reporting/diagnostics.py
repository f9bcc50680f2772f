"""How well conditioned a flow is, and whether single precision suffices for its likelihoods."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.flow import Flow
from flowzoo.transforms import with_modes
from flowzoo.transforms.linear.dense import dense_layers

ROWS_AT_A_TIME = 500


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
