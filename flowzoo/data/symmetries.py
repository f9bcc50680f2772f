"""Symmetries of images, under one of which, drawn at random, training sees each of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

AUGMENTATIONS = ("none", "mirror", "dihedral")


@dataclasses.dataclass(frozen=True, eq=False)
class Symmetries:
    """A group of G permutations of P pixel values.

    Attributes:
      tables: int32 `[G, P]`, the pixel value that comes to each place; the first is the identity.
      last_follows: whether events leave out the last pixel, the sum of all of them being zero.
    """

    tables: np.ndarray
    last_follows: bool = False

    def __len__(self) -> int:
        return len(self.tables)

    def apply(self, x: jax.Array, which: jax.Array) -> jax.Array:
        """The events `x: [N, ...]`, each under one symmetry, `which: [N]`."""
        pixels = x.reshape(len(x), -1)
        if self.last_follows:
            pixels = jnp.concatenate([pixels, -pixels.sum(1, keepdims=True)], 1)
        moved = jnp.take_along_axis(pixels, jnp.asarray(self.tables)[which], 1)
        return (moved[:, :-1] if self.last_follows else moved).reshape(x.shape)


def symmetries(
    augmentation: str, image_shape: tuple[int, int, int] | None, *, last_follows: bool = False
) -> Symmetries:
    """The symmetries that an augmentation draws from.

    Args:
      augmentation: `mirror`, left to right, or `dihedral`, the eight symmetries of a square.
      image_shape: `(H, W, C)`, None if there are no images.
      last_follows: as for `Symmetries`.

    Raises:
      ValueError: if the augmentation is unknown, or there are no images, or not square ones, that
        it could be applied to.
    """
    if augmentation not in AUGMENTATIONS[1:]:
        raise ValueError(
            f"The augmentation is {augmentation!r}, expected one of {', '.join(AUGMENTATIONS)}."
        )
    if image_shape is None:
        raise ValueError(
            f"The augmentation {augmentation!r} is for images, and these data are none: choose "
            "'none'."
        )
    places = np.arange(np.prod(image_shape), dtype=np.int32).reshape(image_shape)
    turned = [places]
    if augmentation == "dihedral":
        if image_shape[0] != image_shape[1]:
            raise ValueError(
                f"The augmentation 'dihedral' turns images by 90 degrees, expected square ones, "
                f"got {image_shape[0]} x {image_shape[1]} pixels: choose 'mirror'."
            )
        turned = [np.rot90(places, quarter) for quarter in range(4)]
    both = [table for each in turned for table in (each, each[:, ::-1])]
    return Symmetries(np.stack([table.reshape(-1) for table in both]), last_follows)
