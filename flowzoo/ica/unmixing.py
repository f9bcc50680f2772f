"""What the estimators of ICA take, and the unmixing flow that they return."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.data.dataset import check_finite
from flowzoo.flow import Flow
from flowzoo.numerics.separation import c_ima


@dataclasses.dataclass(frozen=True, eq=False)
class Unmixing:
    """A flow whose latents are the sources, in some order and each in some scale and sign.

    Attributes:
      flow: `log p(x | u)`; its base is `p(s | u)`, its transform x → s.
      log_likelihoods: mean log-likelihoods in nats of the last stage's starts, the best first.
      seconds: that the fit took, compilation included.
    """

    flow: Flow
    log_likelihoods: np.ndarray
    seconds: float

    def sources(self, x: np.ndarray) -> np.ndarray:
        """`s: [N, D]` of `x: [N, D]`."""
        return np.asarray(_apply(self.flow.transform, jnp.asarray(x, jnp.float32), False))

    def mix(self, sources: np.ndarray) -> np.ndarray:
        """`x: [N, D]` of `s: [N, D]`."""
        return np.asarray(_apply(self.flow.transform, jnp.asarray(sources, jnp.float32), True))

    def c_ima(self, x: np.ndarray) -> float:
        """The mean contrast of independent mechanisms of the mixing, at points `x: [N, D]`."""
        return float(contrast(self.flow.transform, jnp.asarray(x, jnp.float32)).mean())


@functools.partial(jax.jit, static_argnames="inverse")
def _apply(transform, x, inverse):
    return transform.inverse(x) if inverse else transform.forward(x)


@jax.jit
def contrast(transform, x: jax.Array) -> jax.Array:
    """`c_ima` of the mixing at the sources of `x: [N, D]`, as a function of the unmixing alone."""
    unmixing = jax.vmap(jax.jacrev(transform.forward))(x)
    return c_ima(jnp.linalg.inv(unmixing))


def check_mixtures(function: str, x: np.ndarray) -> np.ndarray:
    """Finite mixtures `[N, D]` of floating-point numbers, N ≥ max(2, D), or a ValueError."""
    x = np.asarray(x)
    if x.ndim != 2 or not np.issubdtype(x.dtype, np.floating):
        raise ValueError(
            f"{function} got x of shape {x.shape} and dtype {x.dtype}, expected floating-point "
            "mixtures [N, D]."
        )
    check_finite(x, "x")
    rows, dim = x.shape
    if rows < max(2, dim):
        raise ValueError(
            f"{function} got {rows} rows of {dim} mixtures, expected at least as many rows as "
            "sources; is the array transposed?"
        )
    return x
