"""Convolutional networks that keep the size of an image."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.shapes import check_context
from flowzoo.numerics.smooth import check_bound, tamed

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class ResidualConvNet(nnx.Module):
    """`h_0 = k_0 ∗ x + V c`, `h_l = h_{l−1} + k_l' ∗ r(k_l ∗ r(h_{l−1}))`, `y = k ∗ r(h_L)`.

    r is the ReLU; the convolutions are 3 × 3, zeros around the image. The context is shown to every
    pixel. k and the k_l' start at zero, so that y does and no depth needs a normalisation. With
    `linear` a convolution of x that also starts at zero is added to y.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", arXiv 1603.05027.

    Args:
      in_channels, out_channels: channels of x and of y.
      hidden_channels: channels in between.
      num_blocks: L residual blocks.
      context_size: width of the context c, 0 for none.
      position_shape: `(H, W)` if h_0 has a learned number for each place and channel added, for
        images whose parts lie in known places; None for none.
      last_size: 3, or 1 for a last layer that looks at one pixel.
      linear: whether y has a part that is linear in x, such as the mean of a pixel's neighbours.
      input_bound: as for `MaskedMLP`.
      rngs: draws the kernels.

    Raises:
      ValueError: if a size is not positive, or a call gets a context of another width.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int = 32,
        num_blocks: int = 4,
        context_size: int = 0,
        position_shape: tuple[int, int] | None = None,
        last_size: int = 3,
        linear: bool = False,
        input_bound: float | None = None,
        rngs: nnx.Rngs,
    ):
        check_bound("ResidualConvNet", input_bound)
        self.input_bound = input_bound
        if last_size not in (1, 3):
            raise ValueError(f"ResidualConvNet got last_size {last_size}, expected 1 or 3.")
        if hidden_channels < 1 or num_blocks < 0:
            raise ValueError(
                f"ResidualConvNet got hidden_channels {hidden_channels} and num_blocks "
                f"{num_blocks}, expected at least 1 and at least 0."
            )
        zeros = nnx.initializers.zeros_init()
        draw = nnx.initializers.he_normal()

        def convolution(fan_in, fan_out, init):
            return nnx.Conv(fan_in, fan_out, (3, 3), kernel_init=init, rngs=rngs)

        self.context_size = context_size
        self.first = convolution(in_channels, hidden_channels, nnx.initializers.lecun_normal())
        self.inner = nnx.List(
            [convolution(hidden_channels, hidden_channels, draw) for _ in range(num_blocks)]
        )
        self.outer = nnx.List(
            [convolution(hidden_channels, hidden_channels, zeros) for _ in range(num_blocks)]
        )
        if last_size == 1:
            self.last = nnx.Linear(hidden_channels, out_channels, kernel_init=zeros, rngs=rngs)
        else:
            self.last = convolution(hidden_channels, out_channels, zeros)
        self.linear = convolution(in_channels, out_channels, zeros) if linear else None
        self.positions = (
            nnx.Param(jnp.zeros((*position_shape, hidden_channels))) if position_shape else None
        )
        self.context_weight = (
            nnx.Param(
                nnx.initializers.lecun_normal()(rngs.params(), (context_size, hidden_channels)).T
            )
            if context_size
            else None
        )

    @property
    def canonical_gradients(self) -> bool:
        """A mode: whether convolutions are differentiated by ones of their own layout, `convolve`.

        For training on CPUs. XLA's fast CPU convolution wants this layout, and only outside of
        loops does XLA bring others into it (jax-ml/jax, issue 12868). In a loop over steps, the
        convolutions of autodiff take some 40 to 100 times as long. There are then reverse-mode
        derivatives only.
        """
        return self.first.conv_general_dilated is _like_lax

    @canonical_gradients.setter
    def canonical_gradients(self, on: bool) -> None:
        layers = [self.first, *self.inner, *self.outer, self.last, self.linear]
        for layer in (each for each in layers if isinstance(each, nnx.Conv)):
            layer.conv_general_dilated = _like_lax if on else jax.lax.conv_general_dilated

    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """`y: [..., H, W, out_channels]` of `x: [..., H, W, in_channels]`, `context: [..., C]`."""
        x = tamed(x, self.input_bound)
        h = self.first(x)
        if self.positions is not None:
            h = h + self.positions[...]
        if self.context_weight is not None:
            check_context(type(self).__name__, context, self.context_size)
            h = h + jnp.expand_dims(context @ self.context_weight[...].T, (-3, -2))
        for inner, outer in zip(self.inner, self.outer, strict=True):
            h = h + outer(jax.nn.relu(inner(jax.nn.relu(h))))
        y = self.last(jax.nn.relu(h))
        return y if self.linear is None else y + self.linear(x)


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`y[b, i, j] = Σ_uv x[b, i + u − p, j + v − p] k[u, v]`, zeros around the image.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[2p + 1, 2p + 1, C, C']`.

    Returns:
      `[B, H, W, C']`.
    """
    return _convolve(x, kernel, len(kernel) // 2)


def _like_lax(x, kernel, *options, **more_options):
    """`convolve` as `nnx.Conv` calls it; all layers of the network have the same options."""
    del options, more_options
    return convolve(x, kernel)


def _convolve(x, kernel, padding):
    padding = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_LAYOUT)


def _convolve_backward(inputs, g):
    x, kernel = inputs
    dx = convolve(g, kernel[::-1, ::-1].swapaxes(2, 3))
    # Channels take the place of the batch, and the batch that of the channels: the sum is over it.
    dk = _convolve(x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3), len(kernel) // 2)
    return dx, dk.transpose(1, 2, 0, 3)


convolve.defvjp(lambda x, kernel: (convolve(x, kernel), (x, kernel)), _convolve_backward)
