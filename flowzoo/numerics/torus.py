"""Convolutions on a torus: their kernels in Fourier space.

A circular convolution `y(p) = Σ_q K_q x(p + q)` of an image with H × W pixels and C channels, with
matrices `K_q: [C, C]` at k_1 × k_2 offsets q around zero, is block-diagonal in Fourier space:
`ŷ(ω) = K̂(ω) x̂(ω)` with `K̂(ω) = Σ_q K_q e^{iω·q}`. Arrays hold the half of the frequencies that
`rfft2` has, the others being their conjugates: `[H, W // 2 + 1, ...]`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.elimination import inverse_and_log_abs_det


def spectrum(kernel: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`K̂: [H, W // 2 + 1, C, C]` of `kernel: [k_1, k_2, C, C]`, whose middle is offset zero."""
    return jnp.fft.rfft2(_at_places(kernel, size), axes=(0, 1))


def kernel_of(spectrum: jax.Array, size: tuple[int, int], taps: tuple[int, int]) -> jax.Array:
    """The part of a convolution within `taps = (k_1, k_2)` offsets, `[k_1, k_2, C, C]`."""
    full = jnp.fft.irfft2(spectrum, size, axes=(0, 1))
    shift = [k - 1 - k // 2 for k in taps]
    return jnp.roll(full, shift, (0, 1))[: taps[0], : taps[1]][::-1, ::-1]


def _at_places(kernel: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The kernel on the whole torus, offset q at the place −q, where a Fourier sum wants it."""
    taps = kernel.shape[:2]
    padding = [(0, n - k) for n, k in zip(size, taps, strict=True)]
    full = jnp.pad(kernel[::-1, ::-1], [*padding, (0, 0), (0, 0)])
    return jnp.roll(full, [k // 2 - (k - 1) for k in taps], (0, 1))


def multiplicity(size: tuple[int, int]) -> np.ndarray:
    """How many of all H W frequencies each of the stored ones stands for, `[W // 2 + 1]`."""
    count = np.full(size[1] // 2 + 1, 2.0)
    count[0] = 1
    if size[1] % 2 == 0:  # The Nyquist frequency is its own conjugate.
        count[-1] = 1
    return count


def apply(spectrum: jax.Array, x: jax.Array) -> jax.Array:
    """The convolution of `x: [..., H, W, C]` by multiplication in Fourier space."""
    transformed = jnp.fft.rfft2(x, axes=(-3, -2))
    y = jnp.einsum("hwij,...hwj->...hwi", spectrum, transformed)
    return jnp.fft.irfft2(y, x.shape[-3:-1], axes=(-3, -2)).astype(x.dtype)


def gram(spectrum: jax.Array) -> jax.Array:
    """`K̂ᴴ K̂` at each frequency."""
    return jnp.einsum("hwji,hwjk->hwik", spectrum.conj(), spectrum)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def log_abs_det(kernel: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`log|det J| = Σ_ω log|det K̂(ω)|` of the whole convolution, J: [H W C, H W C], in nats.

    Its gradient in `K_q` is `Re Σ_ω e^{iω·q} K̂(ω)^{-T}`. A compiler differentiates many separate
    `slogdet`s of complex matrices slowly; here one elimination gives value and gradient.

    Args:
      kernel: `[k_1, k_2, C, C]`.
      size: `(H, W)`.
    """
    return sum_frequencies(jnp.linalg.slogdet(spectrum(kernel, size))[1], size)


def sum_frequencies(values: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The sum over all H W frequencies of real `values: [H, W // 2 + 1]` of the stored ones."""
    return (values * multiplicity(size).astype(values.dtype)).sum()


def _log_abs_det_forward(kernel, size):
    inverse, values = inverse_and_log_abs_det(spectrum(kernel, size))
    gradient = size[0] * size[1] * kernel_of(inverse.conj().mT, size, kernel.shape[:2])
    return sum_frequencies(values, size), gradient.astype(kernel.dtype)


def _log_abs_det_backward(size, gradient, cotangent):
    return (cotangent * gradient,)


log_abs_det.defvjp(_log_abs_det_forward, _log_abs_det_backward)
