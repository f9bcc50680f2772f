"""The two parts of a vector that a mask makes, and how they are put together again."""

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.shapes import batch_shape
from flowzoo.numerics.variables import Constant
from flowzoo.transforms.transform import Transform


class Masked(Transform):
    """What couplings share whose parts are the coordinates where a mask is 1, and the others.

    Args:
      mask: zeros and ones, at least one of each; its shape is the event's.

    Attributes:
      num_kept, num_changed: how many coordinates have the mask 1, and 0.

    Raises:
      ValueError: if the mask is not as above.
    """

    def __init__(self, mask):
        mask = np.asarray(mask)
        if not np.all((mask == 0) | (mask == 1)) or len(np.unique(mask)) < 2:
            raise ValueError(
                f"{type(self).__name__} got the mask {mask.tolist()}, expected zeros and ones, at "
                "least one of each."
            )
        self.event_shape = mask.shape
        mask = mask.reshape(-1)
        self.num_kept = int(mask.sum())
        self.num_changed = mask.size - self.num_kept
        # The networks see and give a part of the event each, not all of it. Strided slices make a
        # training step up to a sixth faster than the gather that other masks need.
        self.stride_start = int(np.argmax(mask))
        self.is_alternating = np.array_equal(mask, alternating_mask(mask.size, self.stride_start))
        order = np.argsort(1 - mask, kind="stable")
        self.order = None if self.is_alternating else Constant(jnp.asarray(order, jnp.int32))

    def split(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The parts `[..., num_kept]` and `[..., num_changed]` of `x: [..., *event_shape]`."""
        x = x.reshape(*batch_shape(x, self.event_shape), -1)
        if self.is_alternating:
            return x[..., self.stride_start :: 2], x[..., 1 - self.stride_start :: 2]
        x = _take(x, self.order[...])
        return x[..., : self.num_kept], x[..., self.num_kept :]

    def merge(self, kept: jax.Array, changed: jax.Array) -> jax.Array:
        """The event whose parts are `kept` and `changed`, the batch axes those of `changed`."""
        kept = jnp.broadcast_to(kept, (*changed.shape[:-1], kept.shape[-1]))
        if self.is_alternating:
            x = _interleave(changed, kept) if self.stride_start else _interleave(kept, changed)
        else:
            x = _take(jnp.concatenate([kept, changed], -1), jnp.argsort(self.order[...]))
        return x.reshape(*x.shape[:-1], *self.event_shape)


def _take(x: jax.Array, order: jax.Array) -> jax.Array:
    return x.at[..., order].get(mode="promise_in_bounds", unique_indices=True)


def _interleave(even: jax.Array, odd: jax.Array) -> jax.Array:
    size = even.shape[-1] + odd.shape[-1]
    padding = [(0, 0)] * (odd.ndim - 1) + [(0, size % 2)]
    pairs = jnp.stack([even, jnp.pad(odd, padding)], -1)
    return pairs.reshape(*pairs.shape[:-2], -1)[..., :size]


def alternating_mask(dim: int, parity: int) -> np.ndarray:
    """The mask `[D]` that is 1 at the coordinates of the given parity, 0 at the others."""
    return (np.arange(dim) % 2 == parity % 2).astype(int)
