import io
import struct
import zlib

import numpy as np
from PIL import Image
import pytest

from flowzoo.data.png import decode_pngs


def encode(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 32, 3)])
def test_decodes_what_pillow_encodes(shape):
    # Steps smooth in both directions make the encoder choose every one of the five filters.
    rng = np.random.default_rng(0)
    images = rng.integers(-9, 10, size=(300, *shape)).cumsum(1).cumsum(2).astype(np.uint8)
    images[::2] = rng.integers(256, size=(150, *shape), dtype=np.uint8)
    images[::3] = 0
    np.testing.assert_array_equal(decode_pngs([encode(i) for i in images], shape), images)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("channels", [1, 3])
def test_undoes_every_filter(kind, channels):
    rng = np.random.default_rng(kind)
    image = rng.integers(256, size=(6, 7, channels), dtype=np.uint8)
    padded = np.pad(image.astype(int), ((1, 0), (1, 0), (0, 0)))
    left, up, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    # By the specification: the first of left, up, corner that is nearest to the estimate.
    neighbours = np.stack([left, up, corner])
    nearest = np.abs(neighbours - (left + up - corner)).argmin(0)
    paeth = np.take_along_axis(neighbours, nearest[None], axis=0)[0]
    predicted = [0 * left, left, up, (left + up) // 2, paeth][kind]
    residual = ((image - predicted) % 256).astype(np.uint8).reshape(6, -1)
    lines = np.concatenate([np.full((6, 1), kind, np.uint8), residual], axis=1).tobytes()
    png = _with_data(encode(image), zlib.compress(lines))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), image.squeeze())
    np.testing.assert_array_equal(decode_pngs([png], image.shape)[0], image)


def test_refuses_another_shape():
    png = encode(np.zeros((4, 5, 1), np.uint8))
    with pytest.raises(ValueError, match="Image 1 is not"):
        decode_pngs([encode(np.zeros((5, 4, 1), np.uint8)), png], (5, 4, 1))


def _with_data(png: bytes, data: bytes) -> bytes:
    """The same header, with `data` as the only image chunk, split in two."""
    chunks = png[:33]
    for kind, content in ((b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        chunks += struct.pack(">I", len(content)) + kind + content + crc
    return chunks
