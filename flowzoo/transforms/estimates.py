"""Log-determinants by unbiased estimates, where exact ones are dear."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.variables import Constant
from flowzoo.transforms.stack import Stack


def with_log_det_estimates(module: nnx.Module, key: jax.Array) -> nnx.Module:
    """A copy of a flow or a transform whose dearest log-determinants are unbiased estimates.

    Those of the layers `ContinuousFlow` and `ResidualBlock`. The estimate depends on the key and on
    the event: another key is another estimate. `log_prob` of the copy is then unbiased and its
    exponential is not; the values themselves, `forward` and `inverse`, are as exact as before. The
    copy is neither to be saved nor trained itself.

    >>> from flax import nnx
    >>> import jax
    >>> from flowzoo.transforms import ResidualBlock, with_log_det_estimates
    >>> block = ResidualBlock(3, rngs=nnx.Rngs(0))
    >>> x = jax.random.normal(jax.random.key(0), (3,))
    >>> exact = block.forward_and_log_det(x)[1]
    >>> estimate = with_log_det_estimates(block, jax.random.key(1)).forward_and_log_det(x)[1]
    >>> abs(float(estimate - exact)) < 1 and estimate != exact
    Array(True, dtype=bool)

    Args:
      module: what to copy.
      key: a JAX random key.
    """
    module = nnx.clone(module)
    for i, (layer, lengths) in enumerate(_layers(module)):
        own = jax.random.bits(jax.random.fold_in(key, i), (*lengths, 2), jnp.uint32)
        layer.noise_key = Constant(own)
    return module


def can_estimate(module: nnx.Module) -> bool:
    """Whether a module holds a layer that `with_log_det_estimates` changes."""
    return bool(_layers(module))


def _layers(module: nnx.Module) -> list[tuple[nnx.Module, tuple[int, ...]]]:
    """The layers that estimate, and the lengths of the stacks that each of them stands in."""
    modules = [m for _, m in nnx.iter_modules(module)]
    lengths = {id(m): () for m in modules}
    for stack in modules:
        if isinstance(stack, Stack):
            for _, m in nnx.iter_modules(stack.layers):
                lengths[id(m)] = (*lengths[id(m)], len(stack))
    return [(m, lengths[id(m)]) for m in modules if getattr(m, "estimates_log_det", False)]
