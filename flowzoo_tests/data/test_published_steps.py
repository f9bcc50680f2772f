"""The published preprocessing, recomputed on small files in the same formats."""

import gzip
import zipfile

import numpy as np
import pytest

from flowzoo.data import published_steps
from flowzoo_tests.data.old_pandas import pickle_frame


def joined(splits):
    return {split: np.concatenate(list(blocks)) for split, blocks in splits.items()}


def parts(data):
    """The MAF paper's split of rows: a tenth tests, a tenth of the others validates."""
    num_test = int(0.1 * len(data))
    seen, test = data[:-num_test], data[-num_test:]
    num_validation = int(0.1 * len(seen))
    return seen[:-num_validation], seen[-num_validation:], test


def assert_splits(found, expected):
    assert list(found) == ["train", "validation", "test"]
    for x, y in zip(found.values(), expected, strict=True):
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def published_power(data):
    """The steps as the paper's authors take them, on the whole table at once."""
    rng = np.random.RandomState(42)
    data = data.copy()
    rng.shuffle(data)
    n = len(data)
    voltage, active, meters = rng.rand(n, 1), rng.rand(n, 1), rng.rand(n, 3)
    noise = np.hstack([0.001 * active, 0.01 * voltage, meters, np.zeros((n, 1))])
    train, validation, test = parts(data[:, [0, 2, 4, 5, 6, 7]] + noise)
    seen = np.vstack([train, validation])
    return [(part - seen.mean(0)) / seen.std(0) for part in (train, validation, test)]


@pytest.fixture
def household():
    """Rows like POWER's, more than one block of them."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 9000, size=(9001, 8)) / 1000
    data[:, 4:7] = rng.integers(0, 40, size=(9001, 3))
    data[:, 7] = rng.integers(0, 24 * 60, size=9001)
    return data


def test_power_of_the_archive(household, tmp_path):
    np.save(tmp_path / "data.npy", household)
    found = joined(published_steps.power([tmp_path / "data.npy"], {}))
    assert_splits(found, published_power(household))


@pytest.mark.parametrize("packed", [False, True])
def test_power_of_uci(household, packed, tmp_path):
    path = tmp_path / "household_power_consumption.txt"
    with open(path, "w") as file:
        print(
            "Date;Time;Global_active_power;Global_reactive_power;Voltage;Global_intensity;"
            "Sub_metering_1;Sub_metering_2;Sub_metering_3",
            file=file,
        )
        for i, row in enumerate(household):
            time = f"{int(row[7]) // 60:02}:{int(row[7]) % 60:02}:00"
            if i % 1000 == 7:
                print(f"16/12/2006;{time};?;?;?;?;?;?;", file=file)
            print(f"16/12/2006;{time}", *(f"{v:.3f}" for v in row[:7]), sep=";", file=file)
    if packed:
        with zipfile.ZipFile(tmp_path / "power.zip", "w") as archive:
            archive.write(path, path.name)
        path = tmp_path / "power.zip"
    found = joined(published_steps.power([path], {}))
    # Noise of the time of day is ours.
    minute = np.random.RandomState(0).random_sample(len(household))
    household[:, 7] += minute
    assert_splits(found, published_power(household))


@pytest.fixture
def sensors():
    """16 sensors, of which three groups correlate."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8500, 16))
    data[:, 3] = data[:, 0] + 0.01 * rng.normal(size=8500)
    data[:, 9] = 2 * data[:, 3] + 0.01 * rng.normal(size=8500)
    data[:, 5] = -data[:, 4]
    data[:, 12] = data[:, 11] + 0.1 * rng.normal(size=8500)
    return data


def published_gas(data):
    columns = list(range(16))
    while True:
        correlated = np.corrcoef(data[:, columns].T) > 0.98
        several = np.flatnonzero(correlated.sum(axis=1) > 1)
        if not len(several):
            break
        columns.pop(several[0])
    data = data[:, columns]
    return parts((data - data.mean(0)) / data.std(0, ddof=1))


def test_gas_of_the_archive(sensors, tmp_path):
    time_and_gases = np.zeros((len(sensors), 3))
    names = ["Time", "Meth", "Eth", *map(str, range(16))]
    path = tmp_path / "ethylene_CO.pickle"
    path.write_bytes(pickle_frame(names, np.hstack([time_and_gases, sensors])))
    found = joined(published_steps.gas([path], {}))
    assert found["train"].shape == (6885, 13)
    assert_splits(found, published_gas(sensors))


def test_gas_of_uci(sensors, tmp_path):
    path = tmp_path / "ethylene_CO.txt"
    table = np.hstack([np.zeros((len(sensors), 3)), sensors])
    header = "Time (seconds), CO conc (ppm), Ethylene conc (ppm), sensor readings (16 channels)"
    np.savetxt(path, table, fmt="%.6f", header=header, comments="")
    quarter = np.random.RandomState(0).permutation(8500)[:2125]
    assert_splits(joined(published_steps.gas([path], {})), published_gas(sensors[quarter]))


def write_events(path, data, open_file=open):
    with open_file(path, "wt") as file:
        print(",".join(["# label", *map(str, range(data.shape[1] - 1))]), file=file)
        np.savetxt(file, data, fmt="%.6e", delimiter=",")


@pytest.mark.parametrize("packed", [False, True])
def test_hepmass(packed, tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(9000, 29)).round(3)
    data[:, 0] = rng.integers(2, size=9000)
    # Discrete by the published rule: the smallest value, not the most frequent, occurs often.
    data[:, 5] = rng.integers(3, size=9000)
    data[::2, 7] = 0.5
    data[:, 27] = np.maximum(data[:, 27], -1)
    paths = [tmp_path / f"{part}.csv{'.gz' * packed}" for part in ("train", "test")]
    open_file = gzip.open if packed else open
    write_events(paths[0], data[:6000, :28], open_file)
    write_events(paths[1], data[6000:], open_file)
    train, test = ([row[1:28] for row in d if row[0] == 1] for d in (data[:6000], data[6000:]))
    train, test = np.array(train)[:2500], np.array(test)[:1000]
    columns = [j for j in range(27) if j not in (4, 26)]
    mean, std = train.mean(0), train.std(0, ddof=1)
    train, test = ((part - mean)[:, columns] / std[columns] for part in (train, test))
    sizes = {"train": 2250, "validation": 250, "test": 1000}
    found = joined(published_steps.hepmass(paths, sizes))
    assert_splits(found, (train[:2250], train[2250:], test))


def test_miniboone_of_the_archive(data_root):
    path = data_root / "miniboone" / "miniboone_head.npy"
    train, validation, test = parts(np.load(path))
    seen = np.vstack([train, validation])
    expected = [(part - seen.mean(0)) / seen.std(0) for part in (train, validation, test)]
    assert_splits(joined(published_steps.miniboone([path], {})), expected)


def test_miniboone_of_uci(tmp_path):
    rng = np.random.default_rng(0)
    signal, background = rng.normal(size=(300, 50)).round(4), rng.normal(size=(20, 50))
    signal[[10, 200], 0] = -999
    signal[:, 20] = rng.integers(4, size=300)
    path = tmp_path / "MiniBooNE_PID.txt"
    with open(path, "w") as file:
        print("  300   20", file=file)
        np.savetxt(file, np.vstack([signal, background]), fmt="%.6e")
    kept = np.delete(np.delete(signal, [10, 200], axis=0), 20, axis=1)
    train, validation, test = parts(kept)
    seen = np.vstack([train, validation])
    expected = [(part - seen.mean(0)) / seen.std(0) for part in (train, validation, test)]
    assert_splits(joined(published_steps.miniboone([path], {})), expected)


def read(step, *paths):
    return joined(step(list(paths), {"train": 9, "validation": 9, "test": 9}))


def test_wrong_and_partial_files_are_refused(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, np.zeros((50, 8)))
    with pytest.raises(ValueError, match=r"has shape \(50, 8\), expected \[N, 43\]"):
        read(published_steps.miniboone, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="has 3228 bytes, expected 3328 for its shape"):
        read(published_steps.power, path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is not a .npy file"):
        read(published_steps.power, path)

    path = tmp_path / "1000_train.csv.gz"
    rng = np.random.default_rng(0)
    write_events(path, rng.normal(size=(900, 28)), gzip.open)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="1000_train.csv.gz is damaged or incomplete"):
        read(published_steps.hepmass, path, path)

    path = tmp_path / "MiniBooNE_PID.txt"
    path.write_text("<html>404</html>")
    with pytest.raises(ValueError, match="expected the numbers of signal and background events"):
        read(published_steps.miniboone, path)
    path.write_text("2 1\n1 2\n3 four\n")
    with pytest.raises(ValueError, match="cannot be read after 0 rows: .*four"):
        read(published_steps.miniboone, path)


def test_pickles_that_are_no_frames_are_refused(sensors, tmp_path):
    import pickle

    path = tmp_path / "ethylene_CO.pickle"
    path.write_bytes(pickle_frame(["a", "b"], sensors[:, :2]))
    with pytest.raises(ValueError, match="has no column Eth, Meth, Time"):
        read(published_steps.gas, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"bytes\) is not a data frame"):
        read(published_steps.gas, path)
    path.write_bytes(pickle.dumps(pytest.raises))
    with pytest.raises(ValueError, match="it holds a .*raises"):
        read(published_steps.gas, path)
