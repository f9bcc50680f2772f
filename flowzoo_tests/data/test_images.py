import gzip
import hashlib
import io
import tarfile

import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from flowzoo.data import load_dataset
from flowzoo.data.folders import is_writable

SPLITS = ("train", "validation", "test")


def read_idx(path, header):
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=header)


def test_prepared_mnist_is_the_four_files_in_their_order(data_root, prepared):
    _, dataset = prepared
    files = data_root / "mnist"
    train = read_idx(files / "train-images-idx3-ubyte.gz", 16).reshape(60_000, 784)
    train_labels = read_idx(files / "train-labels-idx1-ubyte.gz", 8)
    np.testing.assert_array_equal(dataset.train.x, train[:50_000])
    np.testing.assert_array_equal(dataset.train.labels, train_labels[:50_000])
    np.testing.assert_array_equal(dataset.validation.x, train[50_000:])
    np.testing.assert_array_equal(dataset.validation.labels, train_labels[50_000:])
    test = read_idx(files / "t10k-images-idx3-ubyte.gz", 16).reshape(10_000, 784)
    np.testing.assert_array_equal(dataset.test.x, test)
    np.testing.assert_array_equal(
        dataset.test.labels, read_idx(files / "t10k-labels-idx1-ubyte.gz", 8)
    )
    assert dataset.train.x.dtype == np.uint8
    assert dataset.event_shape == (784,)
    assert dataset.dequantize and dataset.bits_per_dim and dataset.augmentation == "none"


def test_prepared_folder_is_read_without_the_files(prepared, offline, tmp_path):
    root, dataset = prepared
    (tmp_path / "flowzoo_mnist").symlink_to(root / "flowzoo_mnist")
    again = load_dataset("mnist", data_dir=tmp_path)
    for split in SPLITS:
        np.testing.assert_array_equal(again.split(split).x, dataset.split(split).x)
        np.testing.assert_array_equal(again.split(split).labels, dataset.split(split).labels)


def test_folder_of_tfds_gives_the_same_splits(data_root, prepared, offline):
    _, dataset = prepared
    other = load_dataset("mnist", data_dir=data_root / "tensorflow_datasets")
    for split in SPLITS:
        np.testing.assert_array_equal(other.split(split).x, dataset.split(split).x)
        np.testing.assert_array_equal(other.split(split).labels, dataset.split(split).labels)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_missing_images_name_both_ways_out(name, offline, tmp_path):
    with pytest.raises(FileNotFoundError, match="either put .* from http.* or point data_dir") as e:
        load_dataset(name, data_dir=tmp_path)
    assert str(tmp_path) in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_failed_look_ups_leave_no_folders(name, offline, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_dataset(name, data_dir=tmp_path / "not" / "there")
    assert not list(tmp_path.iterdir())


def test_damaged_file_is_refused(data_root, offline, tmp_path):
    for file in (data_root / "mnist").glob("*.gz"):
        (tmp_path / file.name).symlink_to(file)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    labels.unlink()
    labels.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"{labels} cannot be unpacked .*: replace it"):
        load_dataset("mnist", data_dir=tmp_path)
    assert all(path.suffix == ".gz" for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "num_train", "num_validation", "alpha"),
    [("fashion_mnist", 50_000, 10_000, 1e-6), ("cifar10", 45_000, 5_000, 0.05)],
)
def test_published_splits_and_preprocessing(name, num_train, num_validation, alpha, monkeypatch):
    dim = 3072 if name == "cifar10" else 784

    def read(folder, spec, *, shuffled):
        arrays = {"train": num_train + num_validation - missing, "test": 10_000}
        return {s: (np.zeros((n, dim), np.uint8), np.arange(n)) for s, n in arrays.items()}

    monkeypatch.setattr("flowzoo.data.images.find_prepared", lambda folders, relative: relative)
    monkeypatch.setattr("flowzoo.data.images._read", read)
    missing = 0
    dataset = load_dataset(name)
    np.testing.assert_array_equal(dataset.train.labels, np.arange(num_train))
    assert dataset.validation.labels[0] == num_train
    assert [len(dataset.validation), len(dataset.test)] == [num_validation, 10_000]
    ends = dataset.preprocessing.forward(jnp.outer(jnp.array([0.0, 64, 256]), jnp.ones(dim)))
    p = alpha + (1 - 2 * alpha) * np.array([0, 0.25, 1])
    np.testing.assert_allclose(ends[:, 0], np.log(p) - np.log1p(-p), rtol=1e-5)
    assert dataset.augmentation == ("mirror" if name == "cifar10" else "none")
    missing = 1
    with pytest.raises(ValueError, match=f"flowzoo_{name}/1.0.0 number .*, expected"):
        load_dataset(name)


def test_read_only_folder_is_not_written_to(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir(mode=0o555)
    assert not is_writable(folder) and not is_writable(folder / "below")
    assert is_writable(tmp_path / "not" / "there" / "yet")


def test_cifar10_files(tmp_path):
    from flowzoo.data.builders import FlowzooCifar10

    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    images = rng.integers(256, size=(6, 2, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(10, size=(6, 2), dtype=np.uint8)
    path = tmp_path / "cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        # Not in the order in which they are to be read.
        for i in (5, 3, 1, 0, 2, 4):
            planes = images[i].transpose(0, 3, 1, 2).reshape(2, -1)
            content = np.concatenate([labels[i][:, None], planes], axis=1).tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{names[i]}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    splits = FlowzooCifar10.read({"cifar-10-binary.tar.gz": path})
    np.testing.assert_array_equal(splits["train"][0], images[:5].reshape(10, 32, 32, 3))
    np.testing.assert_array_equal(splits["train"][1], labels[:5].ravel())
    np.testing.assert_array_equal(splits["test"][0], images[5])
    np.testing.assert_array_equal(splits["test"][1], labels[5])


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_cifar10_from_png_files(packed, tmp_path, monkeypatch):
    from flowzoo.data.builders import FlowzooCifar10Png

    rng = np.random.default_rng(0)
    images = {
        f"{split}/{label}/{label}_{i}.png": rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
        for split in ("train", "test")
        for label in ("airplane", "truck")
        for i in range(3)
    }
    path = tmp_path / ("images.tar.xz" if packed else "images")
    if packed:
        with tarfile.open(path, "w:xz") as archive:
            for name, image in images.items():
                member = tarfile.TarInfo(name)
                member.size = len(png(image))
                archive.addfile(member, io.BytesIO(png(image)))
    else:
        for name, image in images.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(png(image))
    digests = {
        split: sorted(
            hashlib.sha256(a.tobytes()).digest() for n, a in images.items() if n.startswith(split)
        )
        for split in ("train", "test")
    }
    known = {s: hashlib.sha256(b"".join(rows)).hexdigest() for s, rows in digests.items()}
    with pytest.raises(ValueError, match="not CIFAR-10's, by the SHA-256 of their pixels"):
        FlowzooCifar10Png.read({"any": path})
    monkeypatch.setattr(FlowzooCifar10Png, "SHA256", known)
    splits = FlowzooCifar10Png.read({"any": path})
    names = sorted(
        (n for n in images if n.startswith("train")),
        key=lambda n: hashlib.sha256(n.removeprefix("train/").encode()).digest(),
    )
    np.testing.assert_array_equal(splits["train"][0], [images[n] for n in names])
    np.testing.assert_array_equal(splits["train"][1], [0 if "airplane" in n else 9 for n in names])


def test_files_packed_again_are_known_by_their_contents(data_root, tmp_path, offline):
    """The real Fashion-MNIST, whose .gz bytes are not those that TFDS expects."""
    for file in (data_root / "fashion_mnist").glob("*.gz"):
        (tmp_path / file.name).symlink_to(file)
    dataset = load_dataset("fashion_mnist", data_dir=tmp_path)
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [
        50_000,
        10_000,
        10_000,
    ]
    np.testing.assert_array_equal(np.bincount(dataset.test.labels), np.full(10, 1000))
