import dataclasses
import json
import tarfile

import numpy as np
import pytest

from flowzoo.data import load_dataset, prepare, tabular
from flowzoo.data.tabular import SPLITS, TABULAR_SETS, prepare_tabular


@pytest.fixture
def small(monkeypatch, offline):
    """MINIBOONE and BSDS300 with 10,000 rows, without network."""
    for name in ("miniboone", "bsds300"):
        sizes = {"train": 8100, "validation": 900, "test": 1000}
        spec = dataclasses.replace(TABULAR_SETS[name], sizes=sizes)
        monkeypatch.setitem(TABULAR_SETS, name, spec)


@pytest.fixture
def data(tmp_path):
    """The archive's MINIBOONE file with 10,000 rows, and what it holds."""
    data = np.random.default_rng(0).normal(size=(10_000, 43))
    folder = tmp_path / "data" / "miniboone"
    folder.mkdir(parents=True)
    np.save(folder / "data.npy", data)
    return folder / "data.npy", (data - data[:9000].mean(0)) / data[:9000].std(0)


def assert_holds(dataset, expected):
    for split, x in zip(SPLITS, np.split(expected, [8100, 9000]), strict=True):
        assert dataset.split(split).x.dtype == np.float32
        np.testing.assert_allclose(dataset.split(split).x, x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("place", ["", "data", "data/miniboone", "data/miniboone/data.npy"])
def test_prepares_from_a_folder_or_a_file(small, data, tmp_path, place):
    folder = prepare_tabular("miniboone", data_dir=tmp_path / "to", source=tmp_path / place)
    assert folder == tmp_path / "to" / "flowzoo_miniboone" / "1.0.0"
    assert json.loads((folder / "metadata.json").read_text())["source"]
    data[0].unlink()
    dataset = load_dataset("miniboone", data_dir=tmp_path / "to")
    assert_holds(dataset, data[1])
    assert dataset.event_shape == (43,) and dataset.image_shape is None


def test_prepares_on_first_use_from_the_archive(small, data, tmp_path):
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        archive.add(data[0].parent.parent, "data")
    data[0].unlink()
    assert_holds(load_dataset("miniboone", data_dir=tmp_path), data[1])
    # It is prepared in the home folder, not where the files are.
    assert {path.name for path in tmp_path.iterdir()} == {"data", "data.tar.gz", "home"}
    assert (tmp_path / "home" / "tensorflow_datasets" / "flowzoo_miniboone").is_dir()


def test_bsds300_of_the_archive(small, tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "BSDS300").mkdir()
    expected = np.random.default_rng(0).normal(size=(10_000, 63))
    with h5py.File(tmp_path / "BSDS300" / "BSDS300.hdf5", "w") as file:
        for split, x in zip(SPLITS, np.split(expected, [8100, 9000]), strict=True):
            file[split] = x
    assert_holds(load_dataset("bsds300", data_dir=tmp_path), expected)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match="pip install h5py"):
        prepare_tabular("bsds300", data_dir=tmp_path / "other", source=tmp_path / "BSDS300")


def test_another_number_of_rows_is_refused(small, data, tmp_path):
    np.save(data[0], np.load(data[0])[:9999])
    with pytest.raises(ValueError, match="gives 999 rows for the test split .* expected 1000"):
        prepare_tabular("miniboone", data_dir=tmp_path / "to", source=tmp_path)
    assert not (tmp_path / "to" / "flowzoo_miniboone" / "1.0.0").exists()


def test_a_prepared_folder_of_another_size_is_refused(small, data, tmp_path, monkeypatch):
    load_dataset("miniboone", data_dir=tmp_path)
    for rows in (8099, 8101):
        sizes = TABULAR_SETS["miniboone"].sizes | {"train": rows}
        spec = dataclasses.replace(TABULAR_SETS["miniboone"], sizes=sizes)
        monkeypatch.setitem(TABULAR_SETS, "miniboone", spec)
        with pytest.raises(ValueError, match=f"has 8100 rows, expected {rows}: delete"):
            load_dataset("miniboone", data_dir=tmp_path)


def test_missing_files_name_every_way_out(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="could the MAF authors' archive be down") as e:
        load_dataset("miniboone", data_dir=tmp_path)
    for way in ("zenodo.org/records/1161203", "MiniBooNE_PID.txt", "--from=", str(tmp_path)):
        assert way in str(e.value)
    assert "\n" not in str(e.value)
    (tmp_path / "stray.npy").write_bytes(b"stray")
    for source in ("stray.npy", ""):
        with pytest.raises(FileNotFoundError, match="is not a source of miniboone: expected"):
            prepare_tabular("miniboone", source=tmp_path / source)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        prepare_tabular("miniboone", source=tmp_path / "nowhere")


def test_what_is_read_is_not_called_downloading(small, data, tmp_path, capfd):
    load_dataset("miniboone", data_dir=tmp_path)
    printed = capfd.readouterr()
    assert printed.out == "" and "ownload" not in printed.err.replace("tensorflow_datasets", "")
    assert f"miniboone is read from {data[0]}, prepared once, in " in printed.err


def test_failed_look_ups_leave_no_folders(small, data, tmp_path):
    with pytest.raises(FileNotFoundError, match="could the MAF authors' archive be downloaded"):
        load_dataset("bsds300", data_dir=tmp_path / "not" / "there")
    np.save(data[0], np.load(data[0])[:9999])
    with pytest.raises(ValueError, match="gives 999 rows"):
        load_dataset("miniboone", data_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_command_line(small, data, tmp_path, capsys):
    prepare.main(["miniboone", f"--data_dir={tmp_path}", f"--from={data[0]}"])
    assert "8,100 / 900 / 1,000 rows of 43 numbers" in capsys.readouterr().out
    for arguments in (["moons"], ["gas", "--from=nowhere"], ["mnist", "--from=here"]):
        with pytest.raises(SystemExit) as stopped:
            prepare.main(arguments)
        printed = capsys.readouterr().err
        assert stopped.value.code == 1 and printed.startswith("Error: ")
        assert len(printed.splitlines()) == 1


def test_published_sizes():
    assert tabular.TABULAR_SETS["power"].sizes == {
        "train": 1_659_917,
        "validation": 184_435,
        "test": 204_928,
    }
    # A tenth tests, a tenth of the rest validates.
    for name, total in (("power", 2_049_280), ("gas", 1_052_065), ("miniboone", 36_488)):
        from flowzoo.data.published_steps import tenths

        sizes = {split: stop - start for split, (start, stop) in tenths(total).items()}
        assert sizes == TABULAR_SETS[name].sizes
