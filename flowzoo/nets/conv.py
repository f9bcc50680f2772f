"""Convolutional networks that keep the size of an image."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.mlp import check_context


class ResidualConvNet(nnx.Module):
    """`h_0 = k_0 ∗ x + V c`, `h_l = h_{l−1} + k_l' ∗ r(k_l ∗ r(h_{l−1}))`, `y = k ∗ r(h_L)`.

    r is the ReLU; the convolutions are 3 × 3, zeros around the image. The context is shown to every
    pixel. k and the k_l' start at zero, so that y does and no depth needs a normalisation.

    Source: He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", arXiv 1603.05027.

    Args:
      in_channels, out_channels: channels of x and of y.
      hidden_channels: channels in between.
      num_blocks: L residual blocks.
      context_size: width of the context c, 0 for none.
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
        rngs: nnx.Rngs,
    ):
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
        self.last = convolution(hidden_channels, out_channels, zeros)
        self.context_weight = (
            nnx.Param(
                nnx.initializers.lecun_normal()(rngs.params(), (context_size, hidden_channels)).T
            )
            if context_size
            else None
        )

    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """`y: [..., H, W, out_channels]` of `x: [..., H, W, in_channels]`, `context: [..., C]`."""
        h = self.first(x)
        if self.context_weight is not None:
            check_context(context, self.context_size)
            h = h + jnp.expand_dims(context @ self.context_weight[...].T, (-3, -2))
        for inner, outer in zip(self.inner, self.outer, strict=True):
            h = h + outer(jax.nn.relu(inner(jax.nn.relu(h))))
        return self.last(jax.nn.relu(h))
