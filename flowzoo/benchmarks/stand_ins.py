"""Files in the formats of the tabular suite, at full published size, filled with random numbers."""

from collections.abc import Callable
import io
import pathlib
import tarfile

import numpy as np

from flowzoo.data.tabular import TABULAR_SETS

_BLOCK = 10_000


def _total(name: str) -> int:
    return sum(TABULAR_SETS[name].sizes.values())


def power(folder: pathlib.Path) -> None:
    """The archive's `power/data.npy`: 8 columns, the last one a time of day."""
    rng = np.random.default_rng(0)
    data = rng.gamma(2.0, size=(_total("power"), 8)).round(3)
    data[:, 7] = rng.uniform(0, 1440, len(data))
    _save(folder / "power" / "data.npy", data)


def gas(folder: pathlib.Path) -> None:
    """UCI's `ethylene_CO.txt`: four times the published rows; 8 of 16 sensors repeat the others.

    The same block of rows is written again and again, which formatting them costs.
    """
    rng = np.random.default_rng(0)
    sensors = rng.normal(size=(_BLOCK, 8))
    repeated = sensors + 0.01 * rng.normal(size=sensors.shape)
    table = np.hstack([np.zeros((_BLOCK, 3)), sensors, repeated])
    text = io.StringIO()
    np.savetxt(text, table, fmt="%.2f")
    lines = text.getvalue().splitlines(keepends=True)
    with open(folder / "ethylene_CO.txt", "w") as file:
        file.write("Time (seconds), CO conc (ppm), Ethylene conc (ppm), sensor readings\n")
        left = 4 * _total("gas") + 1
        while left > 0:
            file.writelines(lines[:left])
            left -= len(lines)


def hepmass(folder: pathlib.Path) -> None:
    """The archive's `1000_train.csv` and `1000_test.csv`: twice the published rows, 27 features.

    Six of them are discrete; every second event is signal.
    """
    sizes = TABULAR_SETS["hepmass"].sizes
    rng = np.random.default_rng(0)
    (folder / "hepmass").mkdir(parents=True, exist_ok=True)
    for part, size in (("train", sizes["train"] + sizes["validation"]), ("test", sizes["test"])):
        with open(folder / "hepmass" / f"1000_{part}.csv", "w") as file:
            file.write(",".join(["# label", *(f"f{i}" for i in range(27))]) + "\n")
            for start in range(0, 2 * size, _BLOCK):
                table = rng.normal(size=(min(_BLOCK, 2 * size - start), 28))
                table[:, 0] = np.arange(len(table)) % 2
                table[:, 1:7] = rng.integers(3, size=(len(table), 6))
                np.savetxt(file, table, fmt="%.18e", delimiter=",")


def miniboone(folder: pathlib.Path) -> None:
    """The archive's `miniboone/data.npy`: 43 columns."""
    data = np.random.default_rng(0).normal(size=(_total("miniboone"), 43))
    _save(folder / "miniboone" / "data.npy", data)


def bsds300(folder: pathlib.Path) -> None:
    """`BSDS300-images.tgz`: 300 images of noise."""
    from PIL import Image

    rng = np.random.default_rng(0)
    with tarfile.open(folder / "BSDS300-images.tgz", "w:gz") as archive:
        for split, count in (("train", 200), ("test", 100)):
            for i in range(count):
                pixels = rng.integers(256, size=(321, 481, 3), dtype=np.uint8)
                content = io.BytesIO()
                Image.fromarray(pixels).save(content, "JPEG")
                member = tarfile.TarInfo(f"BSDS300/images/{split}/{i}.jpg")
                member.size = content.tell()
                content.seek(0)
                archive.addfile(member, content)


def _save(path: pathlib.Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, data)


MAKERS: dict[str, Callable[[pathlib.Path], None]] = {
    "power": power,
    "gas": gas,
    "hepmass": hepmass,
    "miniboone": miniboone,
    "bsds300": bsds300,
}
