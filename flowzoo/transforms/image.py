"""Multi-scale transforms of images `(H, W, C)`: couplings, squeeze, factor-out."""

from abc import abstractmethod
import math

from flax import nnx
import jax.numpy as jnp
import numpy as np

from flowzoo.nets.conv import ResidualConvNet
from flowzoo.transforms.coupling import Coupling
from flowzoo.transforms.transform import Transform


class ImageCoupling(Coupling):
    """A `Coupling` whose s and t are the two halves of the output of one `ResidualConvNet`.

    Args:
      event_shape: `(H, W, C)`.
      parity: 0 or 1, which of the two parts is kept.
      hidden_channels, num_blocks, context_size: of the `ResidualConvNet`.
      rngs: draws the kernels.

    Raises:
      ValueError: if the event is not an image that can be parted, or the network refuses an option.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        parity: int = 0,
        hidden_channels: int = 32,
        num_blocks: int = 4,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        self.event_shape = _image_shape(type(self).__name__, event_shape)
        self.parity = parity % 2
        self.context_size = context_size
        kept, changed = self.num_channels()
        self.net = ResidualConvNet(
            kept,
            2 * changed,
            hidden_channels=hidden_channels,
            num_blocks=num_blocks,
            context_size=context_size,
            rngs=rngs,
        )

    @abstractmethod
    def num_channels(self) -> tuple[int, int]:
        """Channels of what the network sees and of what is mapped."""

    def scale_and_shift(self, kept, context):
        log_scale, shift = jnp.split(self.net(kept, context), 2, axis=-1)
        return log_scale, shift


class CheckerboardCoupling(ImageCoupling):
    """`ImageCoupling` that keeps the pixels where row + column + parity is even.

    Args and errors are those of `ImageCoupling`.
    """

    def num_channels(self):
        height, width, channels = self.event_shape
        if height * width < 2:
            raise ValueError(
                f"CheckerboardCoupling got event_shape {self.event_shape}, expected two pixels or "
                "more."
            )
        return channels, channels

    def _is_kept(self) -> np.ndarray:
        row, column = np.indices(self.event_shape[:2])
        return ((row + column + self.parity) % 2 == 0)[..., None]

    def split(self, x):
        return jnp.where(self._is_kept(), x, 0), x

    def merge(self, kept, changed):
        return changed

    def scale_and_shift(self, kept, context):
        # The whole image counts as changed; zeros here map what is kept by the identity.
        return tuple(
            jnp.where(self._is_kept(), 0, a) for a in super().scale_and_shift(kept, context)
        )


class ChannelCoupling(ImageCoupling):
    """`ImageCoupling` that keeps the first half of the channels, or with parity 1 the second.

    Args and errors are those of `ImageCoupling`.
    """

    def num_channels(self):
        channels = self.event_shape[-1]
        if channels < 2:
            raise ValueError(
                f"ChannelCoupling got event_shape {self.event_shape}, expected two channels or "
                "more; Squeeze makes four of one."
            )
        return (channels + 1 - self.parity) // 2, (channels + self.parity) // 2

    def split(self, x):
        parts = jnp.split(x, [(self.event_shape[-1] + 1) // 2], axis=-1)
        return tuple(parts[::-1] if self.parity else parts)

    def merge(self, kept, changed):
        kept = jnp.broadcast_to(kept, (*changed.shape[:-1], kept.shape[-1]))
        return jnp.concatenate([changed, kept] if self.parity else [kept, changed], -1)


class Squeeze(Transform):
    """`(H, W, C) → (H/2, W/2, 4C)`: each 2 × 2 block of pixels becomes one pixel; `log_det = 0`.

    The new channels are ordered by row, column and old channel.

    Raises:
      ValueError: if the event is not an image of even height and width.
    """

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = _image_shape("Squeeze", event_shape)
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
        height, width, channels = self.event_shape
        batch_shape = x.shape[:-3]
        z = x.reshape(*batch_shape, height // 2, 2, width // 2, 2, channels)
        z = jnp.moveaxis(z, -4, -3).reshape(*batch_shape, *self.latent_shape)
        return z, jnp.zeros(batch_shape, x.dtype)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        height, width, channels = self.event_shape
        batch_shape = z.shape[:-3]
        x = z.reshape(*batch_shape, height // 2, width // 2, 2, 2, channels)
        x = jnp.moveaxis(x, -3, -4).reshape(*batch_shape, *self.event_shape)
        return x, jnp.zeros(batch_shape, z.dtype)


class FactorOut(Transform):
    """`z = (g(x_{1…K}), x_{K+1…C})`, flat: g maps the first K channels, the others are latents.

    Args:
      event_shape: `(H, W, C)`.
      transform: g, of events `(H, W, K)` with 0 < K < C and latents of any shape.

    Raises:
      ValueError: if g takes other events.
    """

    def __init__(self, event_shape: tuple[int, ...], transform: Transform):
        self.event_shape = _image_shape("FactorOut", event_shape)
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

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        z, rest = jnp.split(z, [math.prod(self.transform.latent_shape)], axis=-1)
        z = z.reshape(*z.shape[:-1], *self.transform.latent_shape)
        x, log_det = self.transform.inverse_and_log_det(z, context)
        height, width, channels = self.transform.event_shape
        rest = rest.reshape(*rest.shape[:-1], height, width, self.event_shape[-1] - channels)
        rest = jnp.broadcast_to(rest, (*x.shape[:-3], *rest.shape[-3:]))
        return jnp.concatenate([x, rest], -1), log_det

    @property
    def data_dependent(self):
        return self.transform.data_dependent

    def initialize(self, x, context=None):
        x, rest = self._split(x)
        return self._join(self.transform.initialize(x, context), rest)

    @property
    def has_statistics(self):
        return self.transform.has_statistics

    def update_statistics(self, x, context=None):
        x, rest = self._split(x)
        return self._join(self.transform.update_statistics(x, context), rest)


def _image_shape(name: str, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(event_shape) != 3:
        raise ValueError(f"{name} got event_shape {event_shape}, expected (H, W, C).")
    return tuple(event_shape)
