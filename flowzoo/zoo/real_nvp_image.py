"""Real NVP on images: couplings at several scales."""

from flax import nnx

from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import (
    BatchNorm,
    Chain,
    ChannelCoupling,
    CheckerboardCoupling,
    FactorOut,
    Invertible1x1Conv,
    Reshape,
    Squeeze,
    Transform,
)
from flowzoo.zoo.options import image_of


def real_nvp_image(
    event_shape: tuple[int, ...],
    *,
    image_shape: tuple[int, int, int],
    num_scales: int = 2,
    hidden_channels: int = 32,
    num_blocks: int = 4,
    batch_norm: bool = True,
    conv1x1: bool = False,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """The multi-scale flow of Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP",
    ICLR 2017, arXiv 1605.08803.

    Each scale but the last: three checkerboard couplings, a squeeze, three channel-wise couplings,
    and half of the channels become latents. The last scale: four checkerboard couplings. The
    latents of all scales together are one vector of D numbers. The networks have no batch or weight
    normalisation inside, which the source's have.

    Args:
      event_shape: `(D,)`, a flattened image.
      image_shape: `(H, W, C)` with `H W C = D`; H and W divisible by `2^(num_scales − 1)`.
      num_scales: the source takes 2 for CIFAR-10.
      hidden_channels: of the first scale's networks, doubled at each further one; the source takes
        64 for CIFAR-10.
      num_blocks: residual blocks of each network; the source takes 8 for CIFAR-10.
      batch_norm: whether a `BatchNorm` follows each coupling.
      conv1x1: whether an `Invertible1x1Conv` precedes each channel-wise coupling, as in Kingma,
        Dhariwal, "Glow", arXiv 1807.03039.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: if the shapes do not fit each other or the number of scales.
    """
    image_shape = image_of("real_nvp_image", event_shape, image_shape)
    factor = 2 ** (num_scales - 1)
    halves = num_scales >= 1 and not (image_shape[0] % factor or image_shape[1] % factor)
    if not halves or image_shape[0] * image_shape[1] < 2 * factor**2:
        raise ValueError(
            f"real_nvp_image got {num_scales} scales for image_shape {image_shape}, expected at "
            "least 1, and a height and width that halve at each scale but the last and leave it "
            "two pixels or more."
        )

    def step(kind: type, shape: tuple[int, ...], scale: int, parity: int) -> list[Transform]:
        coupling = kind(
            shape,
            parity=parity,
            hidden_channels=hidden_channels * 2**scale,
            num_blocks=num_blocks,
            context_size=context.size if context else 0,
            rngs=rngs,
        )
        return [coupling, BatchNorm(shape)] if batch_norm else [coupling]

    def scales(shape: tuple[int, ...], scale: int) -> Transform:
        last = scale == num_scales - 1
        transforms = []
        for i in range(4 if last else 3):
            transforms += step(CheckerboardCoupling, shape, scale, i)
        if last:
            return Chain(transforms)
        transforms.append(Squeeze(shape))
        shape = transforms[-1].latent_shape
        for i in range(3):
            if conv1x1:
                transforms.append(Invertible1x1Conv(shape, rngs=rngs))
            transforms += step(ChannelCoupling, shape, scale, i)
        height, width, channels = shape
        return Chain(
            [*transforms, FactorOut(shape, scales((height, width, channels // 2), scale + 1))]
        )

    transform = scales(image_shape, 0)
    return Flow(
        StandardNormal(event_shape),
        Chain(
            [
                Reshape(event_shape, image_shape),
                transform,
                Reshape(transform.latent_shape, event_shape),
            ]
        ),
        context,
    )
