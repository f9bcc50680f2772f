"""Convolutions with zeros around the image: exact determinants and inverses, row by row."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.shapes import image_shape
from flowzoo.transforms.transform import Transform


class ZeroPaddedConv(Transform):
    """`z(p) = Σ_q K_q x(p + q) + b`, 3 × 3 taps with zeros around the image; `Σ_i log|det S_i|`.

    A row of z depends on three rows of x, so that the Jacobian is block tridiagonal, of H × H
    blocks of size W C: D on the diagonal, L before and U behind it. By elimination row by row,
    `S_1 = D` and `S_{i+1} = D − L S_i⁻¹ U`. That takes H (W C)³ operations for a call, whatever the
    number of images, where a dense determinant takes (H W C)³. The inverse goes through the rows
    once up and once down. Both break down where some S_i is singular, which may happen although the
    whole map is invertible; not near the identity, where it starts.

    Args:
      event_shape: `(H, W, C)`.
      rngs: draws the initial kernel, which is near the identity.

    Attributes:
      kernel: K: `[3, 3, C, C]`, (out, in) last.
      bias: b: `[C]`.

    Raises:
      ValueError: if the event is not an image.

    Source of the layer: Keller, Peters, Jaini, Hoogeboom, Forré, Welling, "Self normalizing flows",
    ICML 2021, arXiv 2011.07248, who train it without its determinant.
    """

    def __init__(self, event_shape: tuple[int, ...], *, rngs: nnx.Rngs):
        self.event_shape = image_shape(type(self).__name__, event_shape)
        channels = self.event_shape[-1]
        kernel = jax.random.normal(rngs.params(), (3, 3, channels, channels))
        kernel = 0.01 / jnp.sqrt(9 * channels) * kernel
        self.kernel = nnx.Param(kernel.at[1, 1].add(jnp.eye(channels)))
        self.bias = nnx.Param(jnp.zeros(channels))

    def _blocks(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """L, D and U: `[W C, W C]`."""
        kernel, (_, width, channels) = self.kernel[...], self.event_shape
        shifts = np.stack([np.eye(width, k=offset) for offset in (-1, 0, 1)])
        blocks = jnp.einsum("vpq,uvoi->upoqi", shifts.astype(kernel.dtype), kernel)
        return tuple(blocks.reshape(3, width * channels, width * channels))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        below, middle, above = self._blocks()

        def eliminate(pivot, _):
            log_det = jnp.linalg.slogdet(pivot)[1]
            return middle - below @ jnp.linalg.solve(pivot, above), log_det

        _, log_dets = jax.lax.scan(eliminate, middle, None, self.event_shape[0])
        kernel, (height, width, channels) = self.kernel[...], self.event_shape
        padded = jnp.pad(x.reshape(-1, *self.event_shape), ((0, 0), (1, 1), (1, 1), (0, 0)))
        # One product: autodiff's convolutions are slow on CPUs inside of loops over steps.
        shifted = [padded[:, u : u + height, v : v + width] for u in range(3) for v in range(3)]
        matrix = kernel.transpose(0, 1, 3, 2).reshape(9 * channels, channels)
        z = (jnp.concatenate(shifted, -1) @ matrix + self.bias[...]).reshape(x.shape)
        return z, self.for_each_event(log_dets.sum(), z)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        below, middle, above = self._blocks()
        height = self.event_shape[0]
        rows = (z - self.bias[...]).reshape(-1, height, len(middle)).transpose(1, 2, 0)
        rows = rows.astype(jnp.result_type(rows, middle))

        def up(carry, row):
            pivot, before = carry
            row = row - below @ before
            solved = jnp.linalg.solve(pivot, jnp.concatenate([above, row], 1))
            behind, row = jnp.split(solved, [len(pivot)], 1)
            log_det = jnp.linalg.slogdet(pivot)[1]
            return (middle - below @ behind, row), (behind, row, log_det)

        nothing = jnp.zeros(rows.shape[1:], jnp.result_type(rows, middle))
        _, (behind, rows, log_dets) = jax.lax.scan(
            up, (middle, nothing), rows.astype(nothing.dtype)
        )

        def down(next_row, one):
            behind, row = one
            row = row - behind @ next_row
            return row, row

        _, x = jax.lax.scan(down, nothing, (behind, rows), reverse=True)
        x = x.transpose(2, 0, 1).reshape(z.shape)
        return x, self.for_each_event(-log_dets.sum(), x)
