"""Masked convolutions, whose Jacobian is triangular, and pairs of them."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.shapes import image_shape
from flowzoo.transforms.transform import Chain, Transform


class MaskedConv(Transform):
    """`z(p) = Σ_{q ≤ 0} K_q x(p + q) + b`, zeros around the image; `log_det = H W Σ_c s_c`.

    The offsets q are those of pixels before p, row by row, and at offset zero `K_0` is lower
    triangular with the diagonal `e^s`: each number sees only those before it. The Jacobian is
    triangular. The inverse goes through the pixels one by one, at the cost of one forward pass.

    Args:
      event_shape: `(H, W, C)`.
      kernel_size: k, odd.
      reverse: the opposite order of pixels and of channels.
      rngs: draws the initial kernel, which is near zero; the map starts near the identity.

    Attributes:
      kernel: K: `[k, k, C, C]`, (out, in) last, of which the part before the middle counts.
      log_diagonal: s: `[C]`.
      bias: b: `[C]`.

    Raises:
      ValueError: if the event is not an image or the kernel size not odd.

    Source: Hoogeboom, van den Berg, Welling, "Emerging convolutions for generative normalizing
    flows", arXiv 1901.11137.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        kernel_size: int = 3,
        reverse: bool = False,
        rngs: nnx.Rngs,
    ):
        self.event_shape = image_shape(type(self).__name__, event_shape)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"MaskedConv got kernel_size {kernel_size}, expected an odd number.")
        channels = self.event_shape[-1]
        shape = (kernel_size, kernel_size, channels, channels)
        scale = 0.01 / (kernel_size * channels**0.5)
        self.kernel = nnx.Param(scale * jax.random.normal(rngs.params(), shape))
        self.log_diagonal = nnx.Param(jnp.zeros(channels))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.reverse = bool(reverse)

    def _parameters(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The kernel before the middle `[k, k, C, C]`, `K_0: [C, C]`, and b."""
        kernel, log_diagonal = self.kernel[...], self.log_diagonal[...]
        k = kernel.shape[0]
        before = (np.arange(k * k) < k * k // 2).reshape(k, k, 1, 1)
        middle = jnp.tril(kernel[k // 2, k // 2], -1) + jnp.diag(jnp.exp(log_diagonal))
        return jnp.where(before, kernel, 0), middle, self.bias[...]

    def _order(self, x: jax.Array) -> jax.Array:
        return x[..., ::-1, ::-1, ::-1] if self.reverse else x

    def _log_det(self, x: jax.Array) -> jax.Array:
        height, width, _ = self.event_shape
        return self.for_each_event(height * width * self.log_diagonal[...].sum(), x)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        kernel, middle, bias = self._parameters()
        k, (height, width, channels) = len(kernel), self.event_shape
        images = self._order(x).reshape(-1, *self.event_shape)
        padded = jnp.pad(images, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
        # Only the upper half of the taps counts.
        shifted = [
            padded[:, i : i + height, j : j + width]
            for i in range(k // 2 + 1)
            for j in range(k if i < k // 2 else k // 2)
        ]
        taps = kernel.reshape(-1, channels, channels)[: len(shifted)]
        matrix = jnp.concatenate([*taps, middle], -1).T
        z = jnp.concatenate([*shifted, images], -1) @ matrix + bias
        return self._order(z).reshape(x.shape).astype(x.dtype), self._log_det(x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = self._inverse(self._order(z).reshape(-1, *self.event_shape))
        return self._order(x).reshape(z.shape).astype(z.dtype), -self._log_det(z)

    # A program of its own: outside jit, a scan would be compiled anew at every call.
    @jax.jit
    def _inverse(self, z):
        kernel, middle, bias = self._parameters()
        k, (height, width, channels) = len(kernel), self.event_shape
        matrix = kernel[: k // 2 + 1].transpose(2, 0, 1, 3).reshape(channels, -1)
        margin = k // 2
        start = jnp.zeros((len(z), height + margin, width + 2 * margin, channels), z.dtype)

        def solve(padded, place):
            row, column = place // width, place % width
            patch = (len(z), margin + 1, k, channels)
            seen = jax.lax.dynamic_slice(padded, (0, row, column, 0), patch).reshape(len(z), -1)
            rest = z[:, row, column] - bias - seen @ matrix.T
            x = jax.scipy.linalg.solve_triangular(middle, rest.T, lower=True).T
            place = (0, row + margin, column + margin, 0)
            return jax.lax.dynamic_update_slice(padded, x[:, None, None], place), None

        padded, _ = jax.lax.scan(solve, start, jnp.arange(height * width))
        return padded[:, margin:, margin : margin + width]


def emerging_conv(event_shape: tuple[int, ...], *, kernel_size: int = 3, rngs: nnx.Rngs) -> Chain:
    """Two `MaskedConv`s of opposite orders: together every pixel sees all its neighbours.

    Args:
      event_shape: `(H, W, C)`.
      kernel_size: of each of the two.
      rngs: draws the initial kernels.

    Source: Hoogeboom, van den Berg, Welling, arXiv 1901.11137.
    """
    return Chain(
        [
            MaskedConv(event_shape, kernel_size=kernel_size, reverse=reverse, rngs=rngs)
            for reverse in (False, True)
        ]
    )
