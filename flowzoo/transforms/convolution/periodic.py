"""Circular convolutions of any kernel: exact determinants and inverses in Fourier space."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics import torus
from flowzoo.numerics.shapes import image_shape
from flowzoo.relative import kernels
from flowzoo.transforms.transform import Transform

INITS = ("orthogonal", "identity")


class PeriodicConv(Transform):
    """`z(p) = Σ_q K_q x(p + q) + b`, pixels counted modulo H and W; `Σ_ω log|det K̂(ω)|`.

    Each of the C channels sees all others, at each of k_1 × k_2 offsets q. In Fourier space the map
    is one C × C matrix for each frequency ω, `K̂(ω) = Σ_q K_q e^{iω·q}`, so that the log-determinant
    is exact and the inverse a division. Each call factors each matrix once.

    Its gradient rules are those of `flowzoo.relative.kernels`. Under `relative` a kernel as large
    as the image is trained without an inverse, and a smaller one by the metric of multiplicative
    changes that keep it small, which needs H W inversions of C × C matrices.

    Args:
      event_shape: `(H, W, C)`.
      kernel_size: k, or `(k_1, k_2)`; odd sizes have their middle at offset zero, even ones reach
        one pixel further up and left.
      use_bias: whether there is a b.
      init: of the matrix at offset zero, `orthogonal` (a random rotation) or `identity`; all others
        start near zero.
      rngs: draws the initial kernel.

    Attributes:
      kernel: K: `[k_1, k_2, C, C]`, (out, in) last.
      bias: b: `[C]`, or None.
      gradient_rule: a mode, how `jax.grad` differentiates the layer; backwards, it is `ordinary`.

    Raises:
      ValueError: if the event is not an image, the kernel is larger than it, or `init` is unknown.

    Sources: Karami, Schuurmans, Sohl-Dickstein, Dinh, Duckworth, "Invertible convolutional flow",
    NeurIPS 2019; Hoogeboom, van den Berg, Welling, "Emerging convolutions for generative
    normalizing flows", arXiv 1901.11137, for the determinant in Fourier space.

    Example:
      >>> from flax import nnx
      >>> import jax
      >>> from flowzoo.transforms import PeriodicConv
      >>> layer = PeriodicConv((8, 8, 2), kernel_size=3, rngs=nnx.Rngs(0))
      >>> z, log_det = layer.forward_and_log_det(jax.numpy.ones((5, 8, 8, 2)))
      >>> z.shape, log_det.shape
      ((5, 8, 8, 2), (5,))
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        kernel_size: int | tuple[int, int] = 3,
        use_bias: bool = True,
        init: str = "orthogonal",
        rngs: nnx.Rngs,
    ):
        self.event_shape = image_shape(type(self).__name__, event_shape)
        taps = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        height, width, channels = self.event_shape
        if not (1 <= taps[0] <= height and 1 <= taps[1] <= width):
            raise ValueError(
                f"PeriodicConv got kernel_size {taps} for images of {height} × {width} pixels, "
                "expected at least 1 and at most as many taps as pixels in each direction."
            )
        if init not in INITS:
            raise ValueError(f"PeriodicConv got init {init!r}, expected {' or '.join(INITS)}.")
        scale = 0.01 / jnp.sqrt(channels * taps[0] * taps[1])
        kernel = scale * jax.random.normal(rngs.params(), (*taps, channels, channels))
        middle = jnp.eye(channels)
        if init == "orthogonal":
            middle = jax.nn.initializers.orthogonal()(rngs.params(), (channels, channels))
        self.kernel = nnx.Param(kernel.at[taps[0] // 2, taps[1] // 2].add(middle))
        self.bias = nnx.Param(jnp.zeros(channels)) if use_bias else None
        self.gradient_rule = "ordinary"

    @property
    def size(self) -> tuple[int, int]:
        """`(H, W)`."""
        return self.event_shape[:2]

    def _parameters(self, dtype) -> tuple[jax.Array, jax.Array]:
        kernel = self.kernel[...].astype(dtype)
        bias = jnp.zeros(kernel.shape[-1:], dtype) if self.bias is None else self.bias[...]
        return kernel, bias.astype(dtype)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        kernel, bias = self._parameters(jnp.result_type(x, self.kernel[...]))
        images = x.reshape(-1, *self.event_shape).astype(kernel.dtype)
        if self.gradient_rule == "relative" and kernel.shape[:2] == self.size:
            z = kernels.whole_convolution(images, kernel, bias)
            log_det = kernels.whole_log_abs_det(kernel, bias, self.size)
        else:
            if self.gradient_rule in ("relative", "transposed", "multiplicative"):
                variant = "transposed" if self.gradient_rule == "transposed" else "relative"
                kernel = kernels.with_metric(kernel, self.size, variant)
            z = convolve(images, kernel) + bias
            log_det = torus.log_abs_det(kernel, self.size)
        z = z.reshape(x.shape)
        return z, self.for_each_event(log_det, z)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        kernel, bias = self._parameters(jnp.result_type(z, self.kernel[...]))
        height, width = self.size
        images = (z - bias).reshape(-1, *self.event_shape)
        spectrum = torus.spectrum(kernel, self.size)
        columns = jnp.moveaxis(jnp.fft.rfft2(images, axes=(1, 2)), 0, -1)
        lu, pivots = jax.scipy.linalg.lu_factor(spectrum)
        solved = jnp.moveaxis(jax.scipy.linalg.lu_solve((lu, pivots), columns), -1, 0)
        x = jnp.fft.irfft2(solved, (height, width), axes=(1, 2)).reshape(z.shape)
        log_diagonal = jnp.log(jnp.abs(jnp.diagonal(lu, axis1=-2, axis2=-1))).sum(-1)
        log_det = -torus.sum_frequencies(log_diagonal, self.size)
        return x.astype(z.dtype), self.for_each_event(log_det, z)


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`y(p) = Σ_q K_q x(p + q)` of `x: [B, H, W, C]`, as one matrix product.

    XLA's CPU backend takes up to thirty times as long for the gradients of its own convolution
    inside a loop over training steps.
    """
    k_1, k_2, num_out, num_in = kernel.shape
    shifted = [
        jnp.roll(x, (k_1 // 2 - i, k_2 // 2 - j), (1, 2)) for i in range(k_1) for j in range(k_2)
    ]
    matrix = kernel.transpose(0, 1, 3, 2).reshape(k_1 * k_2 * num_in, num_out)
    return jnp.concatenate(shifted, -1) @ matrix
