"""The relative gradient of convolution kernels as an optax transformation."""

from collections.abc import Iterable
from typing import Literal

import jax.numpy as jnp
import optax

from flowzoo.relative.kernels import relative_kernel_gradient
from flowzoo.relative.selection import as_patterns, on_selected, select_by_name


def scale_by_relative_kernels(
    kernels: str | Iterable[str],
    *,
    size: tuple[int, int],
    layout: Literal["hwio", "hwoi"],
    variant: Literal["relative", "transposed"] = "relative",
) -> optax.GradientTransformationExtraArgs:
    """Turns the gradients of the kernels of circular convolutions into relative gradients.

    `ΔK = P_S[(P_S G) ⋆ K̂ᴴ K̂]`; `flowzoo.relative.kernels` has the details. The gradients must be
    those of the whole loss, its log-determinants included. All other leaves pass through, biases
    too. It belongs before an adaptive optimizer.

    >>> import jax, jax.numpy as jnp, optax
    >>> params = {"Conv_0": {"kernel": jnp.ones((3, 3, 1, 1))}}
    >>> optimizer = optax.chain(
    ...     scale_by_relative_kernels("Conv_*/kernel", size=(8, 8), layout="hwio"),
    ...     optax.adam(1e-3),
    ... )
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> updates["Conv_0"]["kernel"].shape
    (3, 3, 1, 1)

    Args:
      kernels: path, or paths, of the kernels `[k_1, k_2, C, C]`, as in
        `flowzoo.scale_by_relative_gradient`.
      size: `(H, W)` of the images that these kernels are convolved with.
      layout: of the kernel's last two axes: `hwio` (Flax, Haiku) or `hwoi` (flowzoo).
      variant: `relative` or `transposed`.

    Raises:
      ValueError: on an unknown layout or variant; in `init` and `update` if a path matches nothing
        or a kernel has another shape or more taps than the image has pixels; in `update` without
        `params`.
    """
    patterns = as_patterns(kernels)
    if layout not in ("hwio", "hwoi"):
        raise ValueError(f"The layout is {layout!r}, expected 'hwio' or 'hwoi'.")
    if variant not in ("relative", "transposed"):
        raise ValueError(f"The variant is {variant!r}, expected 'relative' or 'transposed'.")

    def selected(leaves):
        paths = select_by_name(leaves, patterns)
        for path in paths:
            shape = jnp.shape(leaves[path])
            fits = len(shape) == 4 and shape[2] == shape[3]
            if not fits or shape[0] > size[0] or shape[1] > size[1]:
                raise ValueError(
                    f"The relative gradient was asked for the kernel {'/'.join(path)!r} of shape "
                    f"{shape}, expected [k, k, C, C] with at most {size[0]} × {size[1]} taps: "
                    "select only invertible convolutions, and pass the size of their images."
                )
        return paths

    def change(paths, values, new):
        for path in paths:
            if path in new:
                g, k = new[path], values[path]
                if layout == "hwio":
                    g, k = g.mT, k.mT
                g = relative_kernel_gradient(g, k, size, variant)
                new[path] = g.mT if layout == "hwio" else g

    return on_selected(selected, change)
