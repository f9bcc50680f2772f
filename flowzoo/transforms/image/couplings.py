"""Couplings of images `(H, W, C)` by convolutional networks."""

from abc import abstractmethod

from flax import nnx
import jax.numpy as jnp
import numpy as np

from flowzoo.nets.conv import ResidualConvNet
from flowzoo.numerics.rational_quadratic import BoxSpline, num_outputs
from flowzoo.numerics.shapes import image_shape
from flowzoo.transforms.coupling.affine_coupling import Coupling
from flowzoo.transforms.transform import Transform


class ImageCoupling(Coupling):
    """A `Coupling` whose s and t are the two halves of the output of one `ResidualConvNet`.

    Args:
      event_shape: `(H, W, C)`.
      parity: 0 or 1, which of the two parts is kept.
      hidden_channels, num_blocks, input_bound, context_size: of the `ResidualConvNet`.
      positions: whether that has a learned number for each place and channel.
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
        positions: bool = False,
        input_bound: float | None = None,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        self.event_shape = image_shape(type(self).__name__, event_shape)
        self.parity = parity % 2
        self.context_size = context_size
        kept, changed = self.num_channels()
        self.net = ResidualConvNet(
            kept,
            2 * changed,
            hidden_channels=hidden_channels,
            num_blocks=num_blocks,
            context_size=context_size,
            position_shape=self.event_shape[:2] if positions else None,
            input_bound=input_bound,
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


class _ChannelHalves:
    """Which channels are kept: the first half of them, or with parity 1 the second."""

    def num_channels(self):
        channels = self.event_shape[-1]
        if channels < 2:
            raise ValueError(
                f"{type(self).__name__} got event_shape {self.event_shape}, expected two channels "
                "or more; Squeeze makes four of one."
            )
        return (channels + 1 - self.parity) // 2, (channels + self.parity) // 2

    def split(self, x):
        parts = jnp.split(x, [(self.event_shape[-1] + 1) // 2], axis=-1)
        return tuple(parts[::-1] if self.parity else parts)

    def merge(self, kept, changed):
        kept = jnp.broadcast_to(kept, (*changed.shape[:-1], kept.shape[-1]))
        return jnp.concatenate([changed, kept] if self.parity else [kept, changed], -1)


class ChannelCoupling(_ChannelHalves, ImageCoupling):
    """`ImageCoupling` that keeps the first half of the channels, or with parity 1 the second.

    Args and errors are those of `ImageCoupling`.
    """


class ChannelSplineCoupling(_ChannelHalves, Transform):
    """`z_B = f(x_B; x_A, c)` for half of the channels, f rational-quadratic splines; `Σ log f'`.

    Each number of the changed channels x_B has its own spline, of K bins on [−T, T] and the
    identity outside, which a `ResidualConvNet` makes of the kept channels x_A and the context. It
    starts at the identity.

    Args:
      event_shape: `(H, W, C)`, C at least 2.
      parity: 0 keeps the first half of the channels, 1 the second.
      num_bins: K, at least 2.
      bound: T.
      hidden_channels, num_blocks, input_bound, context_size: of the `ResidualConvNet`.
      positions: whether that has a learned number for each place and channel.
      rngs: draws the kernels.

    Raises:
      ValueError: if the event is not such an image, or the bins or the network are not as above.

    Source: Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", arXiv 1906.04032.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        parity: int = 0,
        num_bins: int = 8,
        bound: float = 3.0,
        hidden_channels: int = 32,
        num_blocks: int = 2,
        positions: bool = False,
        input_bound: float | None = None,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        self.event_shape = image_shape(type(self).__name__, event_shape)
        self.parity, self.bound, self.context_size = parity % 2, float(bound), context_size
        kept, changed = self.num_channels()
        self.net = ResidualConvNet(
            kept,
            num_outputs(type(self).__name__, num_bins, bound) * changed,
            hidden_channels=hidden_channels,
            num_blocks=num_blocks,
            context_size=context_size,
            position_shape=self.event_shape[:2] if positions else None,
            input_bound=input_bound,
            rngs=rngs,
        )

    def _apply(self, method: str, x, context):
        kept, changed = self.split(x)
        y = self.net(kept, context)
        y = y.reshape(*y.shape[:-1], -1, changed.shape[-1])
        changed, log_slope = getattr(BoxSpline.from_outputs(y, self.bound), method)(changed)
        return self.merge(kept, changed), log_slope.sum((-3, -2, -1))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._apply("evaluate", x, context)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x, log_slope = self._apply("invert", z, context)
        return x, -log_slope
