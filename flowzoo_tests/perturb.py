"""Models in general position: constructors often start at the identity."""

from flax import nnx
import jax


def perturbed(module, scale: float = 0.1, seed: int = 1):
    """A copy of `module` with normal noise added to every trained parameter."""
    graph, parameters, rest = nnx.split(module, nnx.Param, ...)
    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    leaves = [a + scale * jax.random.normal(k, a.shape, a.dtype) for a, k in zip(leaves, keys)]
    return nnx.merge(graph, jax.tree.unflatten(structure, leaves), rest)
