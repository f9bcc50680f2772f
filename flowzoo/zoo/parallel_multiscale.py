"""The parallel multiscale flow: groups of pixels, each given the coarser ones."""

from collections.abc import Sequence

from flax import nnx

from flowzoo.bases import Uniform
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import Chain, Inverse, Logit, ParallelMultiscale, Reshape
from flowzoo.zoo.options import image_of


def parallel_multiscale(
    event_shape: tuple[int, ...],
    *,
    image_shape: tuple[int, int, int],
    alpha: float = 1e-6,
    levels: int = 256,
    num_bins: int = 25,
    num_scales: int = 2,
    hidden_channels: int = 32,
    num_blocks: int = 2,
    hidden_sizes: Sequence[int] = (256, 256),
    num_components: int = 0,
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """`ParallelMultiscale` on pixels that a `Logit` has mapped to the real line.

    The order of the pixels is that of Reed et al., "Parallel multiscale autoregressive density
    estimation", ICML 2017, arXiv 1703.03664; the maps are the piecewise linear ones of Müller et
    al., "Neural importance sampling", arXiv 1808.03856. The logit of the preprocessing is taken
    back, so that the density lives on the pixels' range; elsewhere it is zero.

    Args:
      event_shape: `(D,)`, a flattened image.
      image_shape: `(H, W, C)` with `H W C = D`; H and W divisible by `2^num_scales`.
      alpha: of the `Logit` that the events come from.
      levels: L, grey levels of a pixel.
      num_bins: K, steps of each conditional density, 2 … L.
      num_scales: how often the image is halved.
      hidden_channels, num_blocks: of the convolutional networks.
      hidden_sizes: of the masked network for the last image.
      num_components: M, logistics that describe each number outside of the last image, for natural
        images; 0 for bins there too.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: if the shapes do not fit each other or the number of scales, or there are more
        bins than levels.
    """
    image_shape = image_of("parallel_multiscale", event_shape, image_shape)
    transform = ParallelMultiscale(
        image_shape,
        levels=levels,
        num_bins=num_bins,
        num_scales=num_scales,
        hidden_channels=hidden_channels,
        num_blocks=num_blocks,
        hidden_sizes=tuple(hidden_sizes),
        num_components=num_components,
        context_size=context.size if context else 0,
        rngs=rngs,
    )
    return Flow(
        Uniform(event_shape),
        Chain(
            [
                Inverse(Logit(event_shape, alpha=alpha)),
                Reshape(event_shape, image_shape),
                transform,
                Reshape(image_shape, event_shape),
            ]
        ),
        context,
    )
