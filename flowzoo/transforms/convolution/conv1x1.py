"""The invertible 1 × 1 convolution."""

from flax import nnx

from flowzoo.numerics.shapes import image_shape
from flowzoo.transforms.linear.dense import Dense
from flowzoo.transforms.transform import Transform


class Invertible1x1Conv(Transform):
    """`z_hw = W x_hw + b` at each of the H × W pixels; `log_det = H W log|det W|`.

    The layer is a `Dense` over the channels. Its gradient rules are those of
    `flowzoo.relative.fused`, every pixel being a row of the batch: under `relative`, W is
    trained without an inverse or a factorisation, where the source needs a determinant or W's LU
    form for that.

    Source: Kingma, Dhariwal, "Glow: generative flow with invertible 1×1 convolutions", arXiv
    1807.03039.

    Args:
      event_shape: `(H, W, C)`.
      use_bias: whether there is a b.
      init: `orthogonal` (a random rotation) or `identity`, as for `Dense`.
      rngs: draws the initial weight.

    Raises:
      ValueError: if the event is not an image, or `Dense` refuses `init`.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        use_bias: bool = False,
        init: str = "orthogonal",
        rngs: nnx.Rngs,
    ):
        self.event_shape = image_shape(type(self).__name__, event_shape)
        self.dense = Dense(self.event_shape[-1], use_bias=use_bias, init=init, rngs=rngs)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        z, log_det = self.dense.forward_and_log_det(x)
        return z, log_det.sum((-2, -1))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x, log_det = self.dense.inverse_and_log_det(z)
        return x, log_det.sum((-2, -1))
