"""TFDS builders of the image sets that prepare without TensorFlow.

TFDS's own image builders encode PNG with TensorFlow. These declare plain uint8 tensors and read the
original files with the standard library; downloads, checksums (`checksums.tsv`), splits, versions
and array_record files are TFDS's. Records keep the order of the original files, because published
splits count on it.

Importing this module loads tensorflow_datasets and registers `flowzoo_mnist`,
`flowzoo_fashion_mnist` and `flowzoo_cifar10` with it.
"""

from collections.abc import Iterator
import gzip
import hashlib
import pathlib
import tarfile
import zlib

import numpy as np
import tensorflow_datasets as tfds

from flowzoo.data.png import decode_pngs


class _ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images as uint8 `(H, W, C)` and their labels, in the order of the original files."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE: tuple[int, int, int]
    LABELS: list[str]
    URL: str
    FILES: tuple[str, ...]
    HOMEPAGE: str
    CITATION: str
    # Whether `read` compares what it reads with published checksums.
    READ_CHECKS = False

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Tensor(shape=self.SHAPE, dtype=np.uint8, encoding="bytes"),
            "label": tfds.features.ClassLabel(names=self.LABELS),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
            disable_shuffling=True,
        )

    # The original files where they lie already, by name; None: to be downloaded.
    local_files: dict[str, pathlib.Path] | None = None

    def _split_generators(self, dl_manager):
        paths = self.local_files
        if paths is None:
            paths = dl_manager.download({name: self.URL + name for name in self.FILES})
        elif not self.READ_CHECKS:
            for name, path in paths.items():
                published = self.url_infos[self.URL + name].checksum
                with open(path, "rb") as file:
                    _compare(path, hashlib.file_digest(file, "sha256").hexdigest(), published)
        return {
            split: self._generate_examples(*arrays) for split, arrays in self.read(paths).items()
        }

    def _generate_examples(self, images, labels):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": image, "label": int(label)}

    @classmethod
    def read(cls, paths: dict) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns `{split: (images [N, H, W, C], labels [N])}` from `{file name: path}`.

        Raises:
          ValueError: if a file does not hold the published bytes.
        """
        raise NotImplementedError


class _IdxBuilder(_ImageBuilder, skip_registration=True):
    """28 × 28 images in MNIST's four files: a header of 16 or 8 bytes, then uint8 values.

    The unpacked bytes are checked, so that files that were packed again are welcome.
    """

    SHAPE = (28, 28, 1)
    MD5: dict[str, str]
    READ_CHECKS = True
    FILES = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )

    @classmethod
    def read(cls, paths):
        def values(name: str, header: int) -> np.ndarray:
            path = paths[f"{name}-ubyte.gz"]
            try:
                with gzip.open(path) as file:
                    contents = file.read()
            except (EOFError, OSError, zlib.error) as error:
                raise ValueError(f"{path} cannot be unpacked ({error}): replace it.") from error
            _compare(path, hashlib.md5(contents).hexdigest(), cls.MD5[name])
            return np.frombuffer(contents, np.uint8, offset=header)

        return {
            split: (
                values(f"{prefix}-images-idx3", 16).reshape(-1, 28, 28, 1),
                values(f"{prefix}-labels-idx1", 8),
            )
            for split, prefix in (("train", "train"), ("test", "t10k"))
        }


class FlowzooMnist(_IdxBuilder):
    """The MNIST database of handwritten digits: 60,000 + 10,000 grey images of 28 × 28."""

    LABELS = [str(digit) for digit in range(10)]
    MD5 = {
        "train-images-idx3": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1": "27ae3e4e09519cfbb04c329615203637",
    }
    URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
    HOMEPAGE = "http://yann.lecun.com/exdb/mnist/"
    CITATION = "LeCun, Cortes, Burges, MNIST handwritten digit database, 2010."


class FlowzooFashionMnist(_IdxBuilder):
    """Fashion-MNIST: 60,000 + 10,000 grey images, 28 × 28, of Zalando's articles."""

    LABELS = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ]
    MD5 = {
        "train-images-idx3": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1": "15d484375f8d13e6eb1aabb0c3f46965",
    }
    URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    HOMEPAGE = "https://github.com/zalandoresearch/fashion-mnist"
    CITATION = "Xiao, Rasul, Vollgraf, Fashion-MNIST, arXiv 1708.07747, 2017."


class FlowzooCifar10(_ImageBuilder):
    """CIFAR-10: 50,000 + 10,000 colour images of 32 × 32 in ten classes."""

    SHAPE = (32, 32, 3)
    LABELS = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    URL = "https://www.cs.toronto.edu/~kriz/"
    FILES = ("cifar-10-binary.tar.gz",)
    HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
    CITATION = "Krizhevsky, Learning multiple layers of features from tiny images, 2009."

    @classmethod
    def read(cls, paths):
        # A record is one label and 3,072 bytes, channel by channel.
        batches = {
            "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
            "test": ["test_batch.bin"],
        }
        with tarfile.open(paths["cifar-10-binary.tar.gz"]) as archive:
            contents = {
                name: b"".join(archive.extractfile(f"cifar-10-batches-bin/{b}").read() for b in bs)
                for name, bs in batches.items()
            }
        records = {s: np.frombuffer(c, np.uint8).reshape(-1, 3073) for s, c in contents.items()}
        return {
            split: (r[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), r[:, 0])
            for split, r in records.items()
        }


class FlowzooCifar10Png(FlowzooCifar10):
    """CIFAR-10 from 60,000 PNG files, `train/CLASS/NAME.png` and `test/CLASS/NAME.png`.

    The form in which it is mirrored most often, a folder or one tar file of it. The order of the
    original files is lost, and with it the published validation split: here images are ordered by
    the SHA-256 of `CLASS/NAME.png`, which mixes the classes and is the same everywhere.
    """

    FILES = ("cifar10-png.tar.xz",)
    READ_CHECKS = True
    # Of the sorted SHA-256 digests of all images' bytes, which no order changes.
    SHA256 = {
        "train": "6bebf6967ad9d2d12d9cf95f54164bd95a0954d3177f1285fa8dd3673671ca76",
        "test": "eb97bdfceb97fec3832a6abdbbf9f16340a510375c77ce1b32c45de1e6d88318",
    }

    @classmethod
    def read(cls, paths):
        (path,) = paths.values()
        found = {"train": [], "test": []}
        for name, contents in _png_files(pathlib.Path(path)):
            split, label, file = pathlib.PurePosixPath(name).parts[-3:]
            if split in found and label in cls.LABELS:
                order = hashlib.sha256(f"{label}/{file}".encode()).digest()
                found[split].append((order, cls.LABELS.index(label), contents))
        arrays = {}
        for split, rows in found.items():
            rows.sort()
            images = decode_pngs([contents for _, _, contents in rows], cls.SHAPE)
            digests = sorted(hashlib.sha256(image.tobytes()).digest() for image in images)
            if hashlib.sha256(b"".join(digests)).hexdigest() != cls.SHA256[split]:
                raise ValueError(
                    f"The {len(images):,} {split} images in {path} are not CIFAR-10's, by the "
                    "SHA-256 of their pixels: expected train/CLASS/NAME.png and "
                    "test/CLASS/NAME.png as mirrored; get them again."
                )
            arrays[split] = images, np.array([label for _, label, _ in rows])
        return arrays


def _compare(path: pathlib.Path, found: str, published: str) -> None:
    if found != published:
        raise ValueError(
            f"{path} has the checksum {found[:12]}…, expected the published {published[:12]}…: it "
            "is damaged or another file; replace it."
        )


def _png_files(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the PNG files in a folder, or in a tar file."""
    if path.is_dir():
        for file in path.rglob("*.png"):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".png"):
                yield member.name, archive.extractfile(member).read()


BUILDERS = {
    "mnist": FlowzooMnist,
    "fashion_mnist": FlowzooFashionMnist,
    "cifar10": FlowzooCifar10,
    "cifar10_png": FlowzooCifar10Png,
}
