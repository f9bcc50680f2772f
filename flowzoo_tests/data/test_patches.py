import io
import tarfile

import numpy as np
from PIL import Image
import pytest

from flowzoo.data.patches import NUM_IMAGES, read_images, read_patches

SIZES = {"train": 200_000, "validation": 1_000, "test": 250_000}


@pytest.fixture(scope="module")
def archive(data_root):
    return data_root / "bsds300" / "BSDS300-images.tgz"


def drawn(path, sizes, **kwargs):
    return {s: np.concatenate(list(b)) for s, b in read_patches(path, sizes, **kwargs).items()}


@pytest.fixture(scope="module")
def images(archive):
    return read_images(archive)


@pytest.fixture(scope="module")
def patches(archive):
    return drawn(archive, SIZES)


def test_gaussian_scores_as_published(patches):
    """Papamakarios et al. 2017, table 1: 96.67 ± 0.25 nats."""
    x, test = patches["train"].astype(np.float64), patches["test"].astype(np.float64)
    cholesky = np.linalg.cholesky(np.cov(x.T))
    z = np.linalg.solve(cholesky, (test - x.mean(0)).T)
    constant = 63 / 2 * np.log(2 * np.pi) + np.log(np.diag(cholesky)).sum()
    assert abs(-0.5 * (z**2).sum(0).mean() - constant - 96.67) < 0.5


@pytest.mark.parametrize("split", SIZES)
def test_patch_is_one_of_the_images(images, patches, split):
    x = patches[split]
    assert x.shape == (SIZES[split], 63) and x.dtype == np.float32
    # Levels plus noise, up to a constant: they differ from the image's by less than 1 in spread.
    levels = 256 * np.append(x[0], -x[0].sum(dtype=np.float64))
    found = 0
    for grey in images["test" if split == "test" else "train"]:
        near = np.array(True)
        windows = np.lib.stride_tricks.sliding_window_view(grey, (8, 8))
        for pixel in (63, 7, 56, 28):
            difference = windows[..., 0, 0].astype(np.int16) - windows[..., pixel // 8, pixel % 8]
            near = near & (abs(difference - (levels[0] - levels[pixel])) < 1)
        windows = windows[near].reshape(-1, 64)
        found += np.sum(np.ptp(levels - windows, axis=1) < 1)
    assert found >= 1


def test_seed_decides_places_and_noise(images, monkeypatch):
    monkeypatch.setattr("flowzoo.data.patches.read_images", lambda path: images)
    sizes = {"train": 300, "validation": 200, "test": 100}
    first, again, other = (drawn(None, sizes, seed=seed) for seed in (0, 0, 1))
    for split in sizes:
        np.testing.assert_array_equal(first[split], again[split])
        assert not np.any(first[split] == other[split])
        assert len(np.unique(first[split], axis=0)) == sizes[split]


def write_images(path, counts, shape=(321, 481)):
    with tarfile.open(path, "w:gz") as archive:
        for split, count in counts.items():
            for i in range(count):
                content = io.BytesIO()
                Image.new("RGB", shape[::-1]).save(content, "JPEG")
                member = tarfile.TarInfo(f"BSDS300/images/{split}/{i}.jpg")
                member.size = content.tell()
                content.seek(0)
                archive.addfile(member, content)
    return path


def test_wrong_archives_are_refused(tmp_path):
    path = write_images(tmp_path / "few.tgz", NUM_IMAGES | {"train": 3})
    with pytest.raises(ValueError, match="holds 3 train images, expected 200"):
        read_images(path)
    path = write_images(tmp_path / "small.tgz", NUM_IMAGES, shape=(321, 480))
    with pytest.raises(ValueError, match="480 × 321 pixels, expected 481 × 321"):
        read_images(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="small.tgz is damaged or incomplete"):
        read_images(path)
