"""BSDS300: 8 × 8 grey patches of the 300 photographs of the Berkeley Segmentation Data Set.

Sources: Martin, Fowlkes, Tal, Malik, "A database of human segmented natural images", ICCV 2001;
the patches are those of Uria, Murray, Larochelle, "RNADE", arXiv 1306.0186, and of the MAF paper,
arXiv 1705.07057, in all but the random draw.
"""

from collections.abc import Iterator, Mapping
import io
import pathlib
import tarfile

import numpy as np

SIDE = 8
SHORT, LONG = 321, 481
NUM_IMAGES = {"train": 200, "test": 100}
_PLACES = (SHORT - SIDE + 1) * (LONG - SIDE + 1)  # in one image
_BLOCK = 8192


def read_patches(
    path: pathlib.Path, sizes: Mapping[str, int], *, seed: int = 0
) -> dict[str, Iterator[np.ndarray]]:
    """Draws patches at random places, no place twice: `x = ((g + u)/256 − mean)[:63]`.

    `g` are the patch's grey levels 0 … 255, `u ~ U[0, 1)` is drawn once, and the mean over the
    patch's 64 pixels is subtracted before the last pixel, which the others then determine, is
    dropped. Training and validation patches come from the 200 training images, test patches from
    the 100 test images. NumPy's `RandomState`, whose stream is frozen, makes the same patches
    everywhere, as far as JPEG decoders agree.

    Args:
      path: `BSDS300-images.tgz`, or its unpacked folder `images`, which has `train` and `test`.
      sizes: number of patches of the splits train, validation and test.
      seed: of places and noise.

    Returns:
      `{split: blocks}`, each block float32 `[n, 63]`.

    Raises:
      ValueError: if the images are not 200 and 100 of 481 × 321 pixels.
    """
    greys = read_images(path)
    num_seen = sizes["train"] + sizes["validation"]
    seen = _places(np.random.RandomState([seed, 0]), greys["train"], num_seen)
    unseen = _places(np.random.RandomState([seed, 1]), greys["test"], sizes["test"])
    parts = {
        "train": (greys["train"], seen[: sizes["train"]]),
        "validation": (greys["train"], seen[sizes["train"] :]),
        "test": (greys["test"], unseen),
    }
    return {
        split: _patches(np.random.RandomState([seed, i]), *part)
        for i, (split, part) in enumerate(parts.items(), start=2)
    }


def read_images(path: pathlib.Path) -> dict[str, list[np.ndarray]]:
    """Returns `{"train": 200, "test": 100}` grey images uint8 `[H, W]`, by file name.

    Grey is Pillow's: `(299 R + 587 G + 114 B)/1000` (ITU-R 601-2 luma).

    Raises:
      ValueError: if their number or their shapes are not those of BSDS300.
    """
    from PIL import Image

    greys = {}
    for split, files in _image_files(path).items():
        images = {name: np.asarray(Image.open(file).convert("L")) for name, file in files}
        greys[split] = [images[name] for name in sorted(images)]
        if len(greys[split]) != NUM_IMAGES[split]:
            raise ValueError(
                f"{path} holds {len(greys[split])} {split} images, expected "
                f"{NUM_IMAGES[split]}: it is incomplete, or not BSDS300."
            )
        for name, image in images.items():
            if sorted(image.shape) != [SHORT, LONG]:
                raise ValueError(
                    f"{name} in {path} has {image.shape[1]} × {image.shape[0]} pixels, expected "
                    f"{LONG} × {SHORT} or {SHORT} × {LONG}: it is not an image of BSDS300."
                )
    return greys


def _image_files(path: pathlib.Path) -> dict[str, Iterator[tuple[str, io.IOBase | pathlib.Path]]]:
    """Returns `{split: (name, file) …}` of a folder or a tar file."""
    if path.is_dir():
        return {s: ((file.name, file) for file in (path / s).glob("*.jpg")) for s in NUM_IMAGES}
    files = {split: [] for split in NUM_IMAGES}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = pathlib.PurePosixPath(member.name)
                if name.suffix == ".jpg" and name.parent.name in files:
                    content = io.BytesIO(archive.extractfile(member).read())
                    files[name.parent.name].append((name.name, content))
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path} is damaged or incomplete ({error}): fetch it again.") from None
    return files


def _places(rng: np.random.RandomState, greys: list[np.ndarray], size: int) -> np.ndarray:
    """Returns `size` of the numbers of all places of all images, int32 and without repetition."""
    # An eighth more: about one in fifty is drawn twice.
    drawn = rng.randint(len(greys) * _PLACES, size=size + size // 8, dtype=np.int32)
    _, first = np.unique(drawn, return_index=True)
    return drawn[np.sort(first)[:size]]


def _patches(
    rng: np.random.RandomState, greys: list[np.ndarray], places: np.ndarray
) -> Iterator[np.ndarray]:
    pixels = np.concatenate([grey.ravel() for grey in greys])
    width = np.array([grey.shape[1] for grey in greys])
    rows, columns = np.divmod(np.arange(SIDE**2), SIDE)
    for start in range(0, len(places), _BLOCK):
        image, place = np.divmod(places[start : start + _BLOCK], _PLACES)
        y, x = np.divmod(place, (width - SIDE + 1)[image])
        corner = image * (SHORT * LONG) + y * width[image] + x
        patch = pixels[corner[:, None] + rows * width[image][:, None] + columns]
        patch = ((patch + rng.random_sample(patch.shape)) / 256).astype(np.float32)
        patch -= patch.mean(axis=1, keepdims=True)
        yield patch[:, :-1]
