"""TFDS builders of the image sets that prepare without TensorFlow.

TFDS's own image builders encode PNG with TensorFlow. These declare plain uint8 tensors and read the
original files with the standard library; downloads, checksums (`checksums.tsv`), splits, versions
and array_record files are TFDS's. Records keep the order of the original files, because published
splits count on it.

Importing this module loads tensorflow_datasets and registers `flowzoo_mnist`,
`flowzoo_fashion_mnist` and `flowzoo_cifar10` with it.
"""

import gzip
import tarfile

import numpy as np
import tensorflow_datasets as tfds


class _ImageBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images as uint8 `(H, W, C)` and their labels, in the order of the original files."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE: tuple[int, int, int]
    LABELS: list[str]
    URL: str
    FILES: tuple[str, ...]
    HOMEPAGE: str
    CITATION: str

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

    def _split_generators(self, dl_manager):
        paths = dl_manager.download({name: self.URL + name for name in self.FILES})
        return {
            split: self._generate_examples(*arrays) for split, arrays in self.read(paths).items()
        }

    def _generate_examples(self, images, labels):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": image, "label": int(label)}

    @staticmethod
    def read(paths: dict) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Returns `{split: (images [N, H, W, C], labels [N])}` from `{file name: path}`."""
        raise NotImplementedError


class _IdxBuilder(_ImageBuilder, skip_registration=True):
    """28 × 28 images in MNIST's four files: a header of 16 or 8 bytes, then uint8 values."""

    SHAPE = (28, 28, 1)
    FILES = (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    )

    @staticmethod
    def read(paths):
        def values(name: str, header: int) -> np.ndarray:
            with gzip.open(paths[f"{name}-ubyte.gz"]) as file:
                return np.frombuffer(file.read(), np.uint8, offset=header)

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

    @staticmethod
    def read(paths):
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


BUILDERS = {
    "mnist": FlowzooMnist,
    "fashion_mnist": FlowzooFashionMnist,
    "cifar10": FlowzooCifar10,
}
