"""Decoding many small PNGs of one shape together, about ten times faster than one at a time."""

from collections.abc import Sequence
import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {1: 0, 3: 2}  # channels -> PNG colour type: grey, RGB


def decode_pngs(pngs: Sequence[bytes], shape: tuple[int, int, int]) -> np.ndarray:
    """Decodes 8-bit grey or RGB PNGs without interlacing into one uint8 `[N, H, W, C]`.

    Args:
      pngs: N whole files.
      shape: `(H, W, C)` of every image, C = 1 or 3.

    Raises:
      ValueError: if a file is not such a PNG.

    Source: PNG specification (ISO/IEC 15948), clauses 5 (chunks) and 9 (filters).
    """
    height, width, channels = shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    stride = 1 + width * channels
    lines = b"".join(zlib.decompress(_image_data(png, header, i)) for i, png in enumerate(pngs))
    if len(lines) != len(pngs) * height * stride:
        raise ValueError(f"The PNGs hold {len(lines)} bytes, expected {height * stride} each.")
    lines = np.frombuffer(lines, np.uint8).reshape(len(pngs), height, stride)
    filters = lines[:, :, 0]
    if filters.max(initial=0) > 4:
        raise ValueError(f"PNG filter {filters.max()} does not exist: the files are damaged.")
    out = np.array(lines[:, :, 1:]).reshape(len(pngs), height, width, channels)
    above = np.zeros((len(pngs), width, channels), np.uint8)
    for y in range(height):
        for kind in range(1, 5):
            rows = np.flatnonzero(filters[:, y] == kind)
            if len(rows):
                out[rows, y] = _unfilter(kind, out[rows, y], above[rows])
        above = out[:, y]
    return out


def _image_data(png: bytes, header: bytes, i: int) -> bytes:
    """Returns the compressed stream of one file after comparing its header."""
    if png[:8] != _SIGNATURE or png[16:29] != header:
        raise ValueError(
            f"Image {i} is not an 8-bit PNG of the expected shape without interlacing."
        )
    data, position = b"", 8
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        if png[position + 4 : position + 8] == b"IDAT":
            data += png[position + 8 : position + 8 + length]
        position += length + 12
    return data


def _unfilter(kind: int, residual: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Undoes the prediction of filter 1 to 4, modulo 256; arrays are uint8 `[n, W, C]`."""
    if kind == 1:
        return np.cumsum(residual, axis=1, dtype=np.uint8)
    if kind == 2:
        return residual + above
    line = np.empty_like(residual)
    left = corner = np.zeros_like(above[:, 0])
    for x in range(line.shape[1]):
        up = above[:, x]
        if kind == 3:
            predicted = (left.astype(np.int16) + up) // 2
        else:
            predicted = _paeth(left, up, corner)
        left = line[:, x] = residual[:, x] + predicted.astype(np.uint8)
        corner = up
    return line


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """The neighbour nearest to `left + up − corner`; ties go to left, then up."""
    estimate = left.astype(np.int16) + up - corner
    to_left, to_up, to_corner = (abs(estimate - a) for a in (left, up, corner))
    nearest = np.where(to_up <= to_corner, up, corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
