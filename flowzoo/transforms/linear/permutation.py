"""Reorderings of a vector."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.variables import Constant
from flowzoo.transforms.transform import Transform


class Permutation(Transform):
    """`z_i = x_{order[i]}`; `log_det = 0`.

    Args:
      order: `[D]`, a permutation of 0 … D − 1.

    Raises:
      ValueError: if `order` is not a permutation.
    """

    def __init__(self, order):
        order = np.asarray(order)
        if order.ndim != 1 or not np.array_equal(np.sort(order), np.arange(order.size)):
            raise ValueError(
                f"Permutation got {order.tolist()}, expected each of 0 … {order.size - 1} once."
            )
        self.event_shape = (order.size,)
        self.order = Constant(jnp.asarray(order, jnp.int32))

    @classmethod
    def random(cls, dim: int, *, rngs: nnx.Rngs) -> "Permutation":
        """A permutation of `dim` elements drawn uniformly."""
        return cls(jax.random.permutation(rngs.params(), dim))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return x[..., self.order[...]], jnp.zeros(x.shape[:-1], x.dtype)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return z[..., jnp.argsort(self.order[...])], jnp.zeros(z.shape[:-1], z.dtype)


class Reverse(Transform):
    """`z_i = x_{D−1−i}`: the order that autoregressive stacks alternate with; `log_det = 0`."""

    def __init__(self, dim: int):
        self.event_shape = (dim,)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return x[..., ::-1], jnp.zeros(x.shape[:-1], x.dtype)

    def inverse_and_log_det(self, z, context=None):
        return self.forward_and_log_det(z)
