import warnings

import numpy as np
import pytest

from flowzoo.data import load_dataset
from flowzoo.data.arrays import Recipe, array_dataset, load_array, save_array


def dataset_of(*args, **kwargs):
    return array_dataset(Recipe(*args, **kwargs))


def test_real_numbers_are_standardised_in_double_precision():
    seconds = 1.7e9 + 1e-3 * np.random.default_rng(0).permutation(2000)[:, None]
    dataset = dataset_of(seconds)
    x = np.concatenate([dataset.train.x, dataset.validation.x])
    assert x.dtype == np.float32 and len(np.unique(x)) == 2000
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-6)
    assert dataset.raw_dtype == "float64"


def test_a_few_far_rows_do_not_set_the_scale():
    x = np.random.default_rng(0).normal(size=(500, 2))
    x[17, 0] = 1e30
    with pytest.warns(UserWarning, match=r"\[0\] has values far outside.* 1e\+30 in row 17"):
        dataset = dataset_of(x)
    z = np.sort(np.concatenate([dataset.train.x, dataset.validation.x])[:, 0])
    assert 60 < z[-1] < 80 and 0.6 < z[:-1].std() < 1.2


def test_positive_numbers_may_be_taken_as_such():
    x = np.exp(3 * np.random.default_rng(0).normal(size=(2000, 2)))
    with pytest.warns(UserWarning, match="support='positive' takes their logarithm"):
        dataset_of(x)
    with warnings.catch_warnings(action="error"):
        z = dataset_of(x, support="positive").train.x
    np.testing.assert_allclose(z.std(0), 1, atol=0.05)
    assert np.abs(z).max() < 5


def test_rows_in_groups_are_reported():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(400, 1))
    two = np.sign(rng.normal(size=(400, 1))) + 0.01 * rng.normal(size=(400, 1))
    with pytest.warns(UserWarning, match=r"feature \[1\].* fall into groups.*fit each group"):
        dataset_of(np.concatenate([normal, two], axis=1))
    with pytest.warns(UserWarning, match="most rows share a value.*add noise"):
        dataset_of(np.sign(two))
    with pytest.warns(UserWarning, match="most rows share a value"):
        dataset_of(np.where(rng.random((400, 1)) < 0.9, 0, normal))
    with warnings.catch_warnings(action="error"):
        for data in (normal, rng.random((400, 3)), rng.standard_t(3, size=(400, 1)), normal[:3]):
            dataset_of(data)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_numbers_beyond_single_precision_are_refused(scale):
    with pytest.raises(ValueError, match="give them in other units"):
        dataset_of(scale * np.random.default_rng(0).normal(size=(50, 1)))


def test_another_dataset_has_another_name():
    x = np.random.default_rng(0).normal(size=(50, 2))
    recipes = [
        Recipe(x),
        Recipe(x + 1),
        Recipe(x.astype(np.float32)),
        Recipe(x, np.arange(50) % 2),
        Recipe(x, 1 - np.arange(50) % 2),
        Recipe(x, seed=1),
        Recipe(x, validation=0.2),
        Recipe(np.exp(x), support="positive"),
    ]
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert Recipe(x).name == Recipe(x.copy(order="F")).name


def test_arrays_are_saved_and_verified(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 2))
    recipe = Recipe(x, np.arange(50) % 3, seed=4)
    save_array(recipe, tmp_path)
    loaded, made = load_dataset(recipe.name, data_dir=tmp_path), array_dataset(recipe)
    np.testing.assert_array_equal(loaded.train.x, made.train.x)
    np.testing.assert_array_equal(loaded.train.labels, made.train.labels)
    assert loaded.name == made.name and loaded.num_classes == 3
    (path,) = tmp_path.iterdir()
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="damaged"):
        load_array(recipe.name, tmp_path)
    with pytest.raises(FileNotFoundError, match="the array that the flow was fitted to"):
        load_array("array-none", tmp_path)
