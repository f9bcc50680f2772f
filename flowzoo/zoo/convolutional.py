"""Convolutions and maps of each number in turn, without networks."""

from flax import nnx

from flowzoo.bases import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import (
    Chain,
    ConditionalAffine,
    PeriodicConv,
    Reshape,
    Squeeze,
    Transform,
    ZeroPaddedConv,
)
from flowzoo.zoo.maps import LEARNED, Record, complete, make
from flowzoo.zoo.options import check_choice, image_of


def convolutional(
    event_shape: tuple[int, ...],
    *,
    image_shape: tuple[int, int, int],
    num_blocks: int = 3,
    num_layers: int = 3,
    kernel_size: int = 3,
    padding: str = "periodic",
    inner: Record = "spline",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`z = K_n ∗ σ(… σ(K_1 ∗ x))`: the convolutional flow of Keller, Peters, Jaini, Hoogeboom,
    Forré, Welling, "Self normalizing flows", ICML 2021, arXiv 2011.07248.

    Each block takes L convolutions, with a map of each number by itself between every two; between
    blocks the image is squeezed. All convolutions start near the identity. The source pads images
    with zeros and trains without the determinant. Both paddings have it exactly here: on a torus in
    Fourier space, see `PeriodicConv`, with zeros row by row, see `ZeroPaddedConv`.

    Args:
      event_shape: `(D,)`, a flattened image.
      image_shape: `(H, W, C)` with `H W C = D`; H and W divisible by `2^(num_blocks − 1)`.
      num_blocks: the source takes 3.
      num_layers: L, the source takes 3.
      kernel_size: k, or as much of it as the image has pixels; with zeros 3.
      padding: `periodic` or `zeros`.
      inner: σ, a record or callable, see `flowzoo.zoo.maps`, as of `fully_connected_learned`.
      context: labels or features; at the end of each block an affine map depends on them.
      rngs: draws the initial kernels.

    Raises:
      ValueError: if the shapes do not fit each other, there is no layer, or a map, a padding or its
        kernel size is unknown.
    """
    image_shape = image_of("convolutional", event_shape, image_shape)
    factor = 2 ** max(num_blocks - 1, 0)
    if num_blocks < 1 or num_layers < 1 or image_shape[0] % factor or image_shape[1] % factor:
        raise ValueError(
            f"convolutional got {num_blocks} blocks of {num_layers} layers for image_shape "
            f"{image_shape}, expected at least one of each and a height and width that halve "
            "between blocks."
        )
    check_choice("convolutional", "padding", padding, ("periodic", "zeros"))
    if padding == "zeros" and kernel_size != 3:
        raise ValueError(
            f"convolutional got kernel_size {kernel_size} with zeros around the image, expected 3; "
            "other sizes have the padding 'periodic'."
        )
    record = complete("inner", inner, LEARNED)
    transforms: list[Transform] = [Reshape(event_shape, image_shape)]
    shape = image_shape
    for block in range(num_blocks):
        if block:
            transforms.append(Squeeze(shape))
            shape = transforms[-1].latent_shape
        taps = tuple(min(kernel_size, n) for n in shape[:2])
        for layer in range(num_layers):
            if block or layer:
                transforms.append(make(record, shape))
            if padding == "zeros":
                transforms.append(ZeroPaddedConv(shape, rngs=rngs))
                continue
            transforms.append(PeriodicConv(shape, kernel_size=taps, init="identity", rngs=rngs))
        if context is not None:
            transforms.append(ConditionalAffine(shape, context_size=context.size))
    transforms.append(Reshape(shape, event_shape))
    return Flow(StandardNormal(event_shape), Chain(transforms), context)
