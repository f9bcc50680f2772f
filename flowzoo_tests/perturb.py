"""Models in general position: constructors often start at the identity."""

from flax import nnx
import jax
import numpy as np


def perturbed(module, scale: float = 0.1, seed: int = 1):
    """A copy of `module` with normal noise added to every trained parameter."""
    rng = np.random.default_rng(seed)
    graph, parameters, rest = nnx.split(module, nnx.Param, ...)

    def perturb(a):
        # Drawn by NumPy: JAX would compile a program for each shape.
        return jax.device_put(np.asarray(a + scale * rng.normal(size=a.shape), a.dtype))

    return nnx.merge(graph, jax.tree.map(perturb, jax.device_get(parameters)), rest)
