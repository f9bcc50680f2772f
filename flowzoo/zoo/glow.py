"""Glow: steps of activation norm, an invertible convolution and a coupling, at several scales."""

from collections.abc import Mapping

from flax import nnx

from flowzoo.bases import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.numerics.names import unknown
from flowzoo.transforms import (
    ActNorm,
    Chain,
    ChannelCoupling,
    ChannelSplineCoupling,
    FactorOut,
    Invertible1x1Conv,
    PeriodicConv,
    Reshape,
    Squeeze,
    Transform,
    emerging_conv,
)
from flowzoo.zoo.maps import LEARNED, Record, complete, make
from flowzoo.zoo.options import image_of

# The couplings that there are, and the options of each.
COUPLINGS = {
    "affine": (ChannelCoupling, ()),
    "spline": (ChannelSplineCoupling, ("num_bins", "bound")),
}
CONVOLUTIONS = ("1x1", "periodic", "emerging")


def glow(
    event_shape: tuple[int, ...],
    *,
    image_shape: tuple[int, int, int],
    num_scales: int = 2,
    num_steps: int = 8,
    convolution: str = "1x1",
    kernel_size: int = 3,
    coupling: Mapping = {"name": "affine"},  # noqa: B006 (never written to)
    hidden_channels: int = 64,
    num_blocks: int = 2,
    positions: bool = False,
    input_bound: float | None = None,
    pixel_map: Record | None = None,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Glow of Kingma, Dhariwal, "Glow: generative flow with invertible 1×1 convolutions", NeurIPS
    2018, arXiv 1807.03039.

    Each scale squeezes the image and takes K steps of `ActNorm`, an invertible convolution and a
    channel-wise coupling; at each scale but the last, half of the channels become latents. The
    networks are small residual ones; the latents of all scales are one standard normal vector,
    while the source lets the mean of a scale's latents depend on the next scale.

    Args:
      event_shape: `(D,)`, a flattened image.
      image_shape: `(H, W, C)` with `H W C = D`; H and W divisible by `2^num_scales`.
      num_scales: L; the source takes 3 for CIFAR-10.
      num_steps: K; the source takes 32 for CIFAR-10.
      convolution: `1x1` as published; `periodic`, k × k on a torus; or `emerging`, two masked ones.
      kernel_size: k, of the last two.
      coupling: `{"name": "affine"}`, or `{"name": "spline", "num_bins": …, "bound": …}`.
      hidden_channels, num_blocks: of the networks; the source takes 512 channels.
      positions: whether the networks know the place in the image, for images whose parts lie in
        known places; not in the source.
      input_bound: as for `maf`: without it, twenty-four affine steps of colour images amplify a
        smooth image in training until it is not finite; not in the source, whose scales are at most
        one.
      pixel_map: a map of each number by itself that comes first, a record or callable, see
        `flowzoo.zoo.maps`, or None as in the source.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: if the shapes do not fit each other, or an option is unknown.
    """
    image_shape = image_of("glow", event_shape, image_shape)
    factor = 2**num_scales
    if num_scales < 1 or image_shape[0] % factor or image_shape[1] % factor:
        raise ValueError(
            f"glow got {num_scales} scales for image_shape {image_shape}, expected at least 1 and "
            "a height and width that halve at each of them."
        )
    if num_steps < 1:
        raise ValueError(f"glow got num_steps {num_steps}, expected at least 1.")
    if convolution not in CONVOLUTIONS:
        raise ValueError(
            f"glow got convolution {convolution!r}, expected one of {', '.join(CONVOLUTIONS)}."
        )
    options = dict(coupling)
    name = options.pop("name", None)
    if name not in COUPLINGS:
        raise ValueError(f"The coupling of glow: {unknown('coupling', name, COUPLINGS)}")
    kind, known = COUPLINGS[name]
    for key in options:
        if key not in known:
            raise ValueError(f"The coupling of glow: {unknown(f'option of {name}', key, known)}")

    def convolve(shape: tuple[int, ...]) -> Transform:
        if convolution == "1x1":
            return Invertible1x1Conv(shape, rngs=rngs)
        if convolution == "periodic":
            taps = tuple(min(kernel_size, n) for n in shape[:2])
            return PeriodicConv(shape, kernel_size=taps, use_bias=False, rngs=rngs)
        return emerging_conv(shape, kernel_size=kernel_size, rngs=rngs)

    def scale(shape: tuple[int, ...], remaining: int) -> Transform:
        transforms: list[Transform] = [Squeeze(shape)]
        shape = transforms[0].latent_shape
        for step in range(num_steps):
            transforms += [
                ActNorm(shape),
                convolve(shape),
                kind(
                    shape,
                    parity=step,
                    hidden_channels=hidden_channels,
                    num_blocks=num_blocks,
                    positions=positions,
                    input_bound=input_bound,
                    context_size=context.size if context else 0,
                    rngs=rngs,
                    **options,
                ),
            ]
        if remaining:
            height, width, channels = shape
            inner = scale((height, width, channels // 2), remaining - 1)
            transforms.append(FactorOut(shape, inner))
        return Chain(transforms)

    transform = scale(image_shape, num_scales - 1)
    transforms: list[Transform] = [
        Reshape(event_shape, image_shape),
        transform,
        Reshape(transform.latent_shape, event_shape),
    ]
    if pixel_map is not None:
        transforms.insert(0, make(complete("pixel_map", pixel_map, LEARNED), event_shape))
    return Flow(StandardNormal(event_shape), Chain(transforms), context)
