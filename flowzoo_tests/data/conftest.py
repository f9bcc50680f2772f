import os
import pathlib
import socket
import sys

import pytest

from flowzoo.data import load_dataset


@pytest.fixture(scope="session")
def data_root() -> pathlib.Path:
    """Folder with the real data files."""
    beside = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data"
    root = pathlib.Path(os.environ.get("FLOWZOO_TEST_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"No real data in {root}; set FLOWZOO_TEST_DATA to a folder that has them.")
    return root


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and no data folders but those that the test names."""
    _cut_off(monkeypatch, tmp_path / "home")


@pytest.fixture(scope="session")
def prepared(data_root, tmp_path_factory):
    """MNIST prepared from its four files without network: the data folder and the dataset."""
    root = tmp_path_factory.mktemp("tfds")
    files = root / "mnist"
    files.mkdir()
    for file in (data_root / "mnist").glob("*.gz"):
        (files / file.name).symlink_to(file)
    with pytest.MonkeyPatch.context() as patch:
        _cut_off(patch, root / "home")
        dataset = load_dataset("mnist", data_dir=root)
    assert "tensorflow" not in sys.modules
    # Not where the files are.
    assert {path.name for path in root.iterdir()} == {"mnist", "home"}
    return root / "home" / "tensorflow_datasets", dataset


def _cut_off(patch: pytest.MonkeyPatch, home: pathlib.Path) -> None:
    def refuse(*args, **kwargs):
        raise OSError("this test has no network")

    patch.setattr(socket.socket, "connect", refuse)
    patch.setattr(socket, "getaddrinfo", refuse)
    patch.setenv("HOME", str(home))
    patch.delenv("TFDS_DATA_DIR", raising=False)
