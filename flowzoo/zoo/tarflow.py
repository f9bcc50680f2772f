"""TarFlow: patches of an image as tokens, each mapped given those before it by a transformer."""

from flax import nnx
import numpy as np

from flowzoo.bases import StandardNormal
from flowzoo.context import ContextSpec
from flowzoo.flow import Flow
from flowzoo.transforms import (
    Chain,
    Permutation,
    Reshape,
    Reverse,
    Squeeze,
    Transform,
    TransformerAutoregressive,
)
from flowzoo.zoo.maps import LEARNED, Record, complete, make
from flowzoo.zoo.options import image_of


def tarflow(
    event_shape: tuple[int, ...],
    *,
    image_shape: tuple[int, int, int],
    patch_size: int = 4,
    num_flows: int = 4,
    num_layers: int = 2,
    width: int = 64,
    num_heads: int = 4,
    interleaved: bool = False,
    pixel_map: Record | None = None,
    inverse_method: str = "sequential",
    context: ContextSpec | None = None,
    rngs: nnx.Rngs,
) -> Flow:
    """Affine autoregressive steps of patches, in one order and in the reverse, by turns.

    The source trains on images with Gaussian noise, of standard deviation 0.05 where pixels are
    scaled to [−1, 1] (`config.noise_std`, here in model space, behind the logit), takes it out of
    samples (`Flow.denoise`), and strengthens labels in sampling (`flowzoo.transforms.guided`, after
    training with `config.label_dropout`). Likelihoods are of dequantized data without that noise.

    Args:
      event_shape: `(D,)`, a flattened image.
      image_shape: `(H, W, C)` with `H W C = D`; H and W divisible by the patch size.
      patch_size: P, a power of two; a token has P² C numbers.
      num_flows: autoregressive steps; the source takes 8.
      num_layers, width, num_heads: of each transformer; the source takes 4 to 8 layers that are
        512 to 1,024 wide.
      interleaved: whether every second step has other tokens: the pixels at one place of all
        patches, a coarse image; not in the source. A pixel then sees others of its own patch, which
        steps by patches show it only through other patches.
      pixel_map: a map of each number by itself that comes first, a record or callable, see
        `flowzoo.zoo.maps`, or None; not in the source. Affine steps cannot bend a marginal.
      inverse_method: `sequential`, token by token, or `fixed_point`, sweeps of all at once.
      context: what the flow is conditioned on, None for an unconditional flow.
      rngs: draws the initial weights.

    Raises:
      ValueError: if the shapes do not fit each other, or an option is refused by
        `TransformerAutoregressive`.

    Source: Zhai et al., "Normalizing flows are capable generative models", arXiv 2412.06329.
    """
    image_shape = image_of("tarflow", event_shape, image_shape)
    height, width_of_image, channels = image_shape
    power_of_two = patch_size >= 1 and patch_size & (patch_size - 1) == 0
    if not power_of_two or height % patch_size or width_of_image % patch_size:
        raise ValueError(
            f"tarflow got patch_size {patch_size} for image_shape {image_shape}, expected a power "
            "of two that divides height and width."
        )
    if num_flows < 1:
        raise ValueError(f"tarflow got num_flows {num_flows}, expected at least 1.")
    into_patches: list[Transform] = []
    if pixel_map is not None:
        into_patches.append(make(complete("pixel_map", pixel_map, LEARNED), event_shape))
    into_patches.append(Reshape(event_shape, image_shape))
    while into_patches[-1].latent_shape[0] > height // patch_size:
        into_patches.append(Squeeze(into_patches[-1].latent_shape))
    into_patches.append(Reshape(into_patches[-1].latent_shape, event_shape))
    (dim,) = event_shape
    size = patch_size**2 * channels
    to_coarse = np.arange(dim).reshape(-1, patch_size**2, channels).swapaxes(0, 1).reshape(-1)
    steps: list[Transform] = []
    for flow in range(num_flows):
        coarse = interleaved and flow % 2 == 1
        if interleaved and flow:
            steps.append(Permutation(to_coarse if coarse else np.argsort(to_coarse)))
        if flow and not coarse:
            steps.append(Reverse(dim))
        steps.append(
            TransformerAutoregressive(
                dim,
                num_tokens=patch_size**2 if coarse else dim // size,
                width=width,
                num_layers=num_layers,
                num_heads=num_heads,
                context_size=context.size if context else 0,
                inverse_method=inverse_method,
                rngs=rngs,
            )
        )
    return Flow(StandardNormal(event_shape), Chain([*into_patches, *steps]), context)
