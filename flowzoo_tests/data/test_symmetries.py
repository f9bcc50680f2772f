"""Symmetries of images: which there are, and what training sees."""

import itertools

import jax
import numpy as np
import pytest

from flowzoo.data.symmetries import symmetries


def images(rng, count, shape):
    return rng.normal(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 4, 1), (3, 3, 2), (2, 5, 3)])
def test_mirroring_is_left_to_right_and_keeps_colours(shape):
    x = images(np.random.default_rng(0), 6, shape)
    group = symmetries("mirror", shape)
    assert len(group) == 2
    which = np.array([0, 1, 0, 1, 1, 0])
    moved = np.asarray(group.apply(x.reshape(6, -1), which)).reshape(x.shape)
    np.testing.assert_array_equal(moved[[0, 2, 5]], x[[0, 2, 5]])
    np.testing.assert_array_equal(moved[[1, 3, 4]], x[[1, 3, 4], :, ::-1])


@pytest.mark.parametrize("shape", [(4, 4, 1), (3, 3, 2)])
def test_a_square_has_eight_symmetries_which_form_a_group(shape):
    group = symmetries("dihedral", shape)
    tables = {tuple(table) for table in group.tables}
    assert len(group) == len(tables) == 8
    np.testing.assert_array_equal(group.tables[0], np.arange(np.prod(shape)))
    for a, b in itertools.product(group.tables, repeat=2):
        assert tuple(a[b]) in tables
    x = images(np.random.default_rng(0), 8, shape)
    turned = group.apply(x, np.arange(8))
    expected = [np.rot90(x[i], i // 2) for i in range(8)]
    expected = [a[:, ::-1] if i % 2 else a for i, a in enumerate(expected)]
    np.testing.assert_array_equal(turned, np.stack(expected))


def test_patches_without_their_last_pixel_turn_as_whole_ones_and_keep_volumes():
    rng = np.random.default_rng(0)
    whole = images(rng, 8, (8, 8, 1))
    whole -= whole.mean((1, 2, 3), keepdims=True)
    x = whole.reshape(8, 64)[:, :-1]
    group = symmetries("dihedral", (8, 8, 1), last_follows=True)
    turned = group.apply(x, np.arange(8))
    expected = symmetries("dihedral", (8, 8, 1)).apply(whole.reshape(8, 64), np.arange(8))
    np.testing.assert_allclose(turned, expected[:, :-1], atol=1e-5)
    jacobian = jax.vmap(jax.jacobian(lambda x, i: group.apply(x[None], i[None])[0]), (0, 0))
    volumes = np.abs(np.linalg.det(np.asarray(jacobian(x, np.arange(8)), np.float64)))
    np.testing.assert_allclose(volumes, 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("augmentation", "shape", "message"),
    [
        ("turn", (4, 4, 1), "is 'turn', expected one of none, mirror, dihedral"),
        ("mirror", None, "these data are none: choose 'none'"),
        ("dihedral", (4, 6, 1), "expected square ones, got 4 x 6 pixels: choose 'mirror'"),
    ],
)
def test_what_cannot_be_turned_gets_a_sentence(augmentation, shape, message):
    with pytest.raises(ValueError, match=message):
        symmetries(augmentation, shape)
