import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.data import DATASETS, Dataset, Split, bits_per_dim, dequantize, load_dataset
from flowzoo.transforms import Affine, Chain, Logit

SPLITS = ("train", "validation", "test")


def floats(n):
    return Split(np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_names_split_and_first_row_that_is_not_finite(split, value):
    splits = {"train": floats(9), "validation": floats(5), "test": floats(6)}
    splits[split].x[3, 1] = splits[split].x[4, 0] = value
    with pytest.raises(ValueError, match=f"{split} split of mine holds {value} in row 3"):
        Dataset(name="mine", preprocessing=Affine((3,)), **splits)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Split(np.zeros((0, 3), np.float32)), r"has shape \(0, 3\)"),
        (Split(np.zeros((4, 2), np.float32)), r"has shape \(4, 2\)"),
        (Split(np.zeros((4, 3), np.float32), np.zeros(5, np.int32)), "one label per row"),
    ],
)
def test_refuses_splits_that_do_not_fit(bad, message):
    with pytest.raises(ValueError, match=f"The test split of mine .*{message}"):
        Dataset(
            name="mine", preprocessing=Affine((3,)), train=floats(2), validation=floats(2), test=bad
        )


def test_dequantize_keeps_levels_and_does_not_depend_on_the_batch():
    x = jnp.asarray(np.random.default_rng(0).integers(256, size=(50, 7)), jnp.uint8)
    key, indices = jax.random.key(1), jnp.arange(50)
    add_noise = jax.jit(dequantize)
    y = add_noise(x, key, indices)
    assert y.dtype == jnp.float32
    u = np.asarray(y) - np.asarray(x, np.float32)
    assert 0 <= u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.06
    assert len(np.unique(u)) > 340
    order = np.random.default_rng(2).permutation(50)[:11]
    np.testing.assert_array_equal(add_noise(x[order], key, indices[order]), y[order])
    assert not np.any(add_noise(x, jax.random.key(2), indices) == y)


def test_model_space_is_dequantized_preprocessed_and_invertible():
    dataset = load_dataset("digits")
    key = jax.random.key(0)
    z = dataset.model_space("validation", key)
    assert z.shape == (250, 64) and z.dtype == jnp.float32
    noisy = jax.jit(dequantize)(jnp.asarray(dataset.validation.x), key, jnp.arange(250))
    back = jax.jit(lambda f, z: f.inverse(z))(dataset.preprocessing, z)
    np.testing.assert_allclose(back, noisy, atol=1e-4)
    assert not np.any(dataset.model_space("validation", jax.random.key(1)) == z)


def test_bits_per_dim_of_the_uniform_density_is_the_logarithm_of_the_levels():
    preprocessing = Affine((5,), scale=256.0)
    _, log_det = preprocessing.forward_and_log_det(jnp.zeros((2, 5)))
    np.testing.assert_allclose(bits_per_dim(jnp.zeros(2), log_det, 5), 8.0, rtol=1e-6)
    # The coordinates of model space do not matter, only the density in raw space.
    logit = Chain([preprocessing, Logit((5,), alpha=0.05)])
    p = 0.05 + 0.9 * 64 / 256
    _, log_det = logit.forward_and_log_det(jnp.full((2, 5), 64.0))
    log_prob = 5 * (math.log(p) + math.log1p(-p) - math.log(0.9))
    np.testing.assert_allclose(bits_per_dim(log_prob, log_det, 5), 8.0, rtol=1e-6)


def test_digits():
    dataset = load_dataset("digits")
    assert [len(dataset.split(s)) for s in SPLITS] == [1297, 250, 250]
    assert dataset.train.x.dtype == np.uint8 and dataset.train.x.max() == 16
    assert np.bincount(dataset.train.labels).min() > 100
    other = load_dataset("digits", seed=1)
    rows = [np.concatenate([d.split(s).x for s in SPLITS]) for d in (dataset, other)]
    assert not np.array_equal(*rows)
    np.testing.assert_array_equal(*(r[np.lexsort(r.T)] for r in rows))


@pytest.mark.parametrize(
    ("name", "near"), [("moons", "toy/moons"), ("fashion-mnist", "fashion_mnist"), ("zebra", None)]
)
def test_unknown_name_suggests_near_ones(name, near):
    with pytest.raises(ValueError, match=f"Unknown dataset '{name}'") as e:
        load_dataset(name)
    assert "toy/rings" in str(e.value)
    assert (f"Did you mean {near!r}" in str(e.value)) == (near is not None)
    assert near is None or near in DATASETS


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="Got split 'valid', expected"):
        load_dataset("toy/moons").split("valid")


def test_import_loads_no_dataset_library():
    code = (
        "import sys, flowzoo.data;"
        "sys.exit(bool({'tensorflow_datasets', 'sklearn', 'requests'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
