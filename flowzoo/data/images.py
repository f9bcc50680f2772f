"""MNIST, Fashion-MNIST and CIFAR-10 through TFDS, with the published splits and preprocessing."""

from collections.abc import Sequence
import dataclasses
import hashlib
import math
import os
import pathlib

import numpy as np

from flowzoo.data.dataset import Dataset, Split
from flowzoo.data.folders import data_folders, find_prepared, first_writable, prepare, tidy
from flowzoo.data.png import decode_pngs
from flowzoo.transforms.elementwise.affine import Affine
from flowzoo.transforms.support.logit import Logit
from flowzoo.transforms.transform import Chain


@dataclasses.dataclass(frozen=True)
class _ImageSet:
    """What the literature fixes about an image set.

    Attributes:
      image_shape: `(H, W, C)`.
      num_train: training images as published, the validation part included.
      num_validation: how many of them, the last ones in original order, validate.
      alpha: of the logit.
      augmentation: what training usually does to images at random.
      prepared: folder that flowzoo's own builder writes, below a TFDS data folder.
      standard: folder that TFDS's builder writes.
    """

    image_shape: tuple[int, int, int]
    num_train: int
    num_validation: int
    alpha: float
    augmentation: str
    prepared: str
    standard: str


_MNIST = _ImageSet(
    image_shape=(28, 28, 1),
    num_train=60_000,
    num_validation=10_000,
    alpha=1e-6,
    augmentation="none",
    prepared="flowzoo_mnist/1.0.0",
    standard="mnist/3.0.1",
)
IMAGE_SETS = {
    "mnist": _MNIST,
    "fashion_mnist": dataclasses.replace(
        _MNIST, prepared="flowzoo_fashion_mnist/1.0.0", standard="fashion_mnist/3.0.1"
    ),
    "cifar10": _ImageSet(
        image_shape=(32, 32, 3),
        num_train=50_000,
        num_validation=5_000,
        alpha=0.05,
        augmentation="mirror",
        prepared="flowzoo_cifar10/1.0.0",
        standard="cifar10/3.0.2",
    ),
}
IMAGE_SETS["cifar10_png"] = dataclasses.replace(
    IMAGE_SETS["cifar10"], prepared="flowzoo_cifar10_png/1.0.0", standard=""
)


def load_images(name: str, *, data_dir: str | os.PathLike | None) -> Dataset:
    """Loads an image set: `z = logit(α + (1 − 2α)(x + u)/256)`, `x: [N, H·W·C]` uint8.

    Splits follow Papamakarios et al.: the last 10,000 (CIFAR-10: 5,000) training images, in the
    order of the original files, validate. Folders are looked through in this order: `data_dir`,
    `$TFDS_DATA_DIR`, `~/tensorflow_datasets`. In them is searched for

    1. what flowzoo's own builder has prepared (`flowzoo_mnist/1.0.0`),
    2. what TFDS's builder has prepared as array_record (`mnist/3.0.1`). TFDS shuffles by the md5
       of split name and index, which is undone here, so that the splits are the same as in 1,
    3. the original files, in the folder itself, in its subfolder `mnist`, or in TFDS's
       `downloads/manual`. They are prepared as in 1, once, into the first of the folders that can
       be written to and does not hold them itself. Files of MNIST's and Fashion-MNIST's are known
       by their unpacked bytes.

    `cifar10_png` is CIFAR-10 from the PNG files in which it is mirrored, a folder of `train` and
    `test` or `cifar10-png.tar.xz`. The mirrors have lost the original order: its test split is the
    published one, its validation split is not, but a tenth of the training images by file name.

    Otherwise the original files are downloaded and prepared. TensorFlow is never needed.

    Raises:
      FileNotFoundError: if the images are nowhere found and cannot be downloaded.
      ValueError: if a file has not the published checksum, or a folder holds another number of
        images than published.

    Source: Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation",
    arXiv 1705.07057.
    """
    spec = IMAGE_SETS[name]
    folders = data_folders(data_dir)
    prepared = find_prepared(folders, spec.prepared)
    standard = find_prepared(folders, spec.standard) if spec.standard else None
    folder = prepared or standard or _prepare(name, folders)
    arrays = _read(folder, spec, shuffled=folder == standard)
    (x, labels), test = arrays["train"], arrays["test"]
    if len(x) != spec.num_train:
        raise ValueError(
            f"The training images of {name} in {folder} number {len(x)}, expected "
            f"{spec.num_train}: delete that folder and prepare it again."
        )
    cut = spec.num_train - spec.num_validation
    shape = (math.prod(spec.image_shape),)
    return Dataset(
        name=name,
        train=Split(x[:cut], labels[:cut]),
        validation=Split(x[cut:], labels[cut:]),
        test=Split(*test),
        preprocessing=Chain([Affine(shape, scale=256.0), Logit(shape, alpha=spec.alpha)]),
        dequantize=True,
        num_classes=10,
        image_shape=spec.image_shape,
        bits_per_dim=True,
        augmentation=spec.augmentation,
    )


def _read(
    folder: pathlib.Path, spec: _ImageSet, *, shuffled: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns `{split: (x [N, H·W·C] uint8, labels [N] int32)}` in the original order.

    `tfds.data_source` would decode record by record in ten seconds; here only the parsing of the
    protocol buffers is per record.
    """
    from array_record.python.array_record_module import ArrayRecordReader
    import tensorflow_datasets as tfds
    from tensorflow_datasets.proto import tf_example_pb2

    splits = tfds.builder_from_directory(folder).info.splits
    arrays = {}
    for split in ("train", "test"):
        images, labels = [], []
        for path in splits[split].filepaths:
            reader = ArrayRecordReader(os.fspath(path))
            for record in reader.read_all():
                feature = tf_example_pb2.Example.FromString(record).features.feature
                images.append(feature["image"].bytes_list.value[0])
                labels.append(feature["label"].int64_list.value[0])
            reader.close()
        n, labels = len(images), np.array(labels, np.int32)
        if shuffled:
            position = np.argsort(_tfds_order(split, n))
            x = decode_pngs(images, spec.image_shape).reshape(n, -1)[position]
            labels = labels[position]
        else:
            x = np.frombuffer(b"".join(images), np.uint8).reshape(n, -1)
        arrays[split] = (x, labels)
    return arrays


def _tfds_order(split: str, n: int) -> np.ndarray:
    """Returns `[n]`: the original index of each record in the order that TFDS shuffles into."""
    hashes = [hashlib.md5(f"{split}{i}".encode()).digest() for i in range(n)]
    return np.array(sorted(range(n), key=hashes.__getitem__))


def _prepare(name: str, folders: Sequence[pathlib.Path]) -> pathlib.Path:
    """Prepares an image set from its original files, downloaded if need be; returns the folder."""
    from flowzoo.data.builders import BUILDERS

    builder_class = BUILDERS[name]
    local_files = _local_files(name, builder_class.FILES, folders)
    target = first_writable(folders, (local_files or {}).values())
    with tidy(target):
        builder = builder_class(data_dir=target)
        builder.local_files = local_files
        return _download_and_prepare(name, builder, target, folders)


def _download_and_prepare(
    name: str, builder, target: pathlib.Path, folders: Sequence[pathlib.Path]
) -> pathlib.Path:
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    try:
        downloads = target / "downloads" / builder.name
        if builder.local_files is None and len(list(downloads.glob("*.INFO"))) < len(builder.FILES):
            # TFDS would knock at an unreachable host for minutes before it gives up.
            requests.head(builder.URL, timeout=10)
        places = sorted({str(path.parent) for path in (builder.local_files or {}).values()})
        what = f"{name} is read from {', '.join(places)}" if places else f"{name} is downloaded"
        return prepare(builder, what, force_checksums_validation=True)
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise FileNotFoundError(
            f"{name} is neither prepared in {', '.join(map(str, folders))} nor downloadable "
            f"({type(error).__name__}): either put {', '.join(builder.FILES)} from {builder.URL} "
            "into a folder and give that folder as data_dir, or point data_dir or TFDS_DATA_DIR "
            f"at a TFDS folder that holds {IMAGE_SETS[name].standard or name} as array_record."
        ) from error
    except NonMatchingChecksumError as error:
        summary = str(error).splitlines()[0].rstrip(":")
        raise ValueError(f"{summary}: replace that file, or delete it to download it.") from error


def _local_files(
    name: str, files: Sequence[str], folders: Sequence[pathlib.Path]
) -> dict[str, pathlib.Path] | None:
    """The original files where they lie already, None if they lie nowhere."""
    for folder in (f / sub for f in folders for sub in ("", name, "cifar10", "downloads/manual")):
        if all((folder / file).exists() for file in files):
            return {file: folder / file for file in files}
        if name == "cifar10_png" and (folder / "train" / "airplane").is_dir():
            return {name: folder}
    return None
