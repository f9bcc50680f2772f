"""The relative gradient for kernels of circular convolutions.

A layer is `y(p) = Σ_q K_q x(p + q) + b` on an H × W torus, `kernel` K: [k_1, k_2, C, C], (out, in)
last, and in Fourier space `ŷ(ω) = K̂(ω) x̂(ω)`; see `flowzoo.numerics.torus`. G and g are the
ordinary gradients in K and b, Ĝ(ω) the spectrum of G.

Kernels with as many taps as the image has pixels form a group, so that everything in
`flowzoo.relative.fused` carries over, one frequency at a time: `ΔK̂ = Σ δ̂ ŷᴴ K̂`, formed from the
layer's output, and the log-determinant's part is `H W (K, b)`. No matrix is inverted.

Kernels of fewer taps are not closed under composition. There the gradient is multiplied by the
metric of multiplicative changes that stay within the k_1 × k_2 taps S, P_S being the restriction,

  relative     ΔK = P_S[(P_S G) ⋆ K̂ᴴ K̂]     transposed   ΔK = P_S[K̂ K̂ᴴ ⋆ (P_S G)]     Δb = g

It is positive definite, `<P_S G, ΔK> = ‖(P_S G) ⋆ K̂ᴴ‖²`, and has the zeros of the gradient. It
needs the exact gradient of the log-determinant, H W inversions of C × C matrices. The inverse-free
formula restricted to S, `P_S[G ⋆ K̂ᴴ K̂]` with G on the whole torus, is no descent direction: at some
points it ascends, and its zeros are not those of the gradient. It is not offered.

Source: the method of Gresele et al., "Relative gradient optimization of the Jacobian term in
unsupervised deep learning", arXiv 2006.15090, which leaves tensors to future work.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from flowzoo.numerics import torus

Size = tuple[int, int]


def relative_kernel_gradient(
    gradient: jax.Array,
    kernel: jax.Array,
    size: Size,
    variant: Literal["relative", "transposed"] = "relative",
) -> jax.Array:
    """`P_S[G ⋆ K̂ᴴ K̂]` of a gradient G on the taps S, or the transposed `P_S[K̂ K̂ᴴ ⋆ G]`.

    Args:
      gradient: G: `[k_1, k_2, C, C]`, of the whole loss, its log-determinant included.
      kernel: K: `[k_1, k_2, C, C]`.
      size: `(H, W)` of the torus.
      variant: `relative` or `transposed`.
    """
    taps = kernel.shape[:2]
    # On a torus of 3 k − 2 pixels the product of three kernels meets itself nowhere that counts.
    size = tuple(min(n, 3 * k - 2) for n, k in zip(size, taps, strict=True))
    g, k = torus.spectrum(gradient, size), torus.spectrum(kernel, size)
    if variant == "relative":
        product = jnp.einsum("hwij,hwkj,hwkl->hwil", g, k.conj(), k, optimize="optimal")
    else:
        product = jnp.einsum("hwij,hwkj,hwkl->hwil", k, k.conj(), g, optimize="optimal")
    return torus.kernel_of(product, size, taps).astype(gradient.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def with_metric(kernel: jax.Array, size: Size, variant: str) -> jax.Array:
    """The kernel itself, whose gradient comes back as `relative_kernel_gradient` makes it."""
    return kernel


with_metric.defvjp(
    lambda kernel, size, variant: (kernel, kernel),
    lambda size, variant, kernel, g: (relative_kernel_gradient(g, kernel, size, variant),),
)


@jax.custom_vjp
def whole_convolution(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """`y = K ⋆ x + b` with a kernel as large as the image, under the fused relative rule.

    Args:
      x: `[B, H, W, C]`.
      kernel: `[H, W, C, C]`.
      bias: `[C]`.
    """
    return torus.apply(torus.spectrum(kernel, x.shape[1:3]), x) + bias


def _whole_forward(x, kernel, bias):
    k = torus.spectrum(kernel, x.shape[1:3])
    y = torus.apply(k, x) + bias
    return y, (y, k, bias)


def _whole_backward(residuals, delta):
    y, k, bias = residuals
    size = y.shape[1:3]
    d, y_hat = jnp.fft.rfft2(delta, axes=(1, 2)), jnp.fft.rfft2(y, axes=(1, 2))
    dx = jnp.fft.irfft2(jnp.einsum("hwji,bhwj->bhwi", k.conj(), d), size, axes=(1, 2))
    perturbation = jnp.einsum("bhwi,bhwk->hwik", d, y_hat.conj())
    dkernel = torus.kernel_of(jnp.einsum("hwik,hwkj->hwij", perturbation, k), size, size)
    dbias = perturbation[0, 0].real @ bias + delta.sum((0, 1, 2))
    return dx.astype(delta.dtype), dkernel.astype(delta.dtype), dbias.astype(bias.dtype)


whole_convolution.defvjp(_whole_forward, _whole_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def whole_log_abs_det(kernel: jax.Array, bias: jax.Array, size: Size) -> jax.Array:
    """`log|det J|` of `whole_convolution`; its relative gradient is `H W (K, b)`, inverse-free."""
    return torus.log_abs_det(kernel, size)


def _whole_log_abs_det_backward(size, residuals, cotangent):
    kernel, bias = residuals
    count = size[0] * size[1] * cotangent
    return count * kernel, count * bias


whole_log_abs_det.defvjp(
    lambda kernel, bias, size: (torus.log_abs_det(kernel, size), (kernel, bias)),
    _whole_log_abs_det_backward,
)
