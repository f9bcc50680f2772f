"""What makes a flow of images `(H, W, C)` multi-scale: squeezing and factoring out."""

import math

import jax
import jax.numpy as jnp

from flowzoo.numerics.shapes import image_shape
from flowzoo.transforms.transform import Transform


def squeezed(x: jax.Array) -> jax.Array:
    """`[..., H, W, C] → [..., H/2, W/2, 4 C]`, the channels by row, column and old channel."""
    *batch, height, width, channels = x.shape
    x = x.reshape(*batch, height // 2, 2, width // 2, 2, channels)
    return jnp.moveaxis(x, -4, -3).reshape(*batch, height // 2, width // 2, 4 * channels)


def unsqueezed(z: jax.Array) -> jax.Array:
    """`[..., H, W, 4 C] → [..., 2 H, 2 W, C]`, the inverse of `squeezed`."""
    *batch, height, width, channels = z.shape
    z = z.reshape(*batch, height, width, 2, 2, channels // 4)
    return jnp.moveaxis(z, -3, -4).reshape(*batch, 2 * height, 2 * width, channels // 4)


class Squeeze(Transform):
    """`(H, W, C) → (H/2, W/2, 4C)`: each 2 × 2 block of pixels becomes one pixel; `log_det = 0`.

    The new channels are ordered by row, column and old channel.

    Raises:
      ValueError: if the event is not an image of even height and width.
    """

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = image_shape("Squeeze", event_shape)
        if self.event_shape[0] % 2 or self.event_shape[1] % 2:
            raise ValueError(
                f"Squeeze got event_shape {self.event_shape}, expected an even height and width."
            )

    @property
    def latent_shape(self):
        height, width, channels = self.event_shape
        return height // 2, width // 2, 4 * channels

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return squeezed(x), jnp.zeros(x.shape[:-3], x.dtype)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return unsqueezed(z), jnp.zeros(z.shape[:-3], z.dtype)


class FactorOut(Transform):
    """`z = (g(x_{1…K}), x_{K+1…C})`, flat: g maps the first K channels, the others are latents.

    Args:
      event_shape: `(H, W, C)`.
      transform: g, of events `(H, W, K)` with 0 < K < C and latents of any shape.

    Raises:
      ValueError: if g takes other events.
    """

    def __init__(self, event_shape: tuple[int, ...], transform: Transform):
        self.event_shape = image_shape("FactorOut", event_shape)
        inner, channels = transform.event_shape, self.event_shape[-1]
        if inner[:-1] != self.event_shape[:-1] or not 0 < inner[-1] < channels:
            raise ValueError(
                f"FactorOut got event_shape {self.event_shape} and a transform of events {inner}, "
                f"expected a transform of the same height and width and 1 … {channels - 1} "
                "channels."
            )
        self.transform = transform

    @property
    def latent_shape(self):
        return (math.prod(self.event_shape),)

    def _split(self, x):
        return jnp.split(x, [self.transform.event_shape[-1]], axis=-1)

    def _join(self, inner, rest):
        inner = inner.reshape(*inner.shape[: inner.ndim - len(self.transform.latent_shape)], -1)
        rest = rest.reshape(*rest.shape[:-3], -1)
        rest = jnp.broadcast_to(rest, (*inner.shape[:-1], rest.shape[-1]))
        return jnp.concatenate([inner, rest], -1)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        x, rest = self._split(x)
        z, log_det = self.transform.forward_and_log_det(x, context)
        return self._join(z, rest), log_det

    def _split_latent(self, z):
        z, rest = jnp.split(z, [math.prod(self.transform.latent_shape)], axis=-1)
        return z.reshape(*z.shape[:-1], *self.transform.latent_shape), rest

    def _join_event(self, x, rest):
        height, width, channels = self.transform.event_shape
        rest = rest.reshape(*rest.shape[:-1], height, width, self.event_shape[-1] - channels)
        rest = jnp.broadcast_to(rest, (*x.shape[:-3], *rest.shape[-3:]))
        return jnp.concatenate([x, rest], -1)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        z, rest = self._split_latent(z)
        x, log_det = self.transform.inverse_and_log_det(z, context)
        return self._join_event(x, rest), log_det

    def initialize(self, x, context=None, *, inverse=False):
        return self._hand_on(self.transform.initialize, x, context, inverse)

    def update_statistics(self, x, context=None, *, inverse=False):
        return self._hand_on(self.transform.update_statistics, x, context, inverse)

    def _hand_on(self, method, x, context, inverse):
        split = self._split_latent if inverse else self._split
        join = self._join_event if inverse else self._join
        x, rest = split(x)
        return join(method(x, context, inverse=inverse), rest)
