import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.studies import linear_couplings
from flowzoo.studies.linear_couplings import STUDY, fit_couplings, fit_layers
from flowzoo.studies.linear_factorization import (
    NUM_PAIRS,
    REFLECTION_BOUND,
    Couplings,
    factorize,
    reflection,
)
from flowzoo.studies.study import Record, settings


def positive(matrix):
    matrix = np.array(matrix, float)
    matrix[0] *= np.linalg.slogdet(matrix)[0]
    return matrix


RNG = np.random.default_rng(0)
MATRICES = {
    "gaussian_2": positive(RNG.normal(size=(2, 2))),
    "gaussian_16": positive(RNG.normal(size=(16, 16))),
    "gaussian_62": positive(RNG.normal(size=(62, 62))),
    "tiny": 1e-6 * positive(RNG.normal(size=(6, 6))),
    "identity": np.eye(8),
    "reflection": reflection(8),
    "permutation": positive(np.eye(16)[RNG.permutation(16)]),
    "halves_exchanged": positive(np.roll(np.eye(12), 6, axis=0)),
    "first_block_zero": positive(
        np.block([[np.zeros((3, 3)), np.eye(3)], [RNG.normal(size=(3, 6))]])
    ),
    "triangular": np.tril(RNG.normal(size=(8, 8)), -1) + np.eye(8),
    "all_turned": -np.eye(4),
}


@pytest.mark.parametrize("name", MATRICES)
def test_any_matrix_is_a_product_of_few_pairs(name):
    matrix = MATRICES[name]
    found = factorize(matrix)
    assert len(found.B) <= NUM_PAIRS <= 24
    assert found.B.min() > 0 and found.C.min() > 0
    # The product of pairs as they are defined, not by the class's own method.
    n, product = len(matrix) // 2, np.eye(len(matrix))
    zero, eye = np.zeros((n, n)), np.eye(n)
    for a, b, c, d in zip(*found, strict=True):
        product = product @ np.block([[eye, zero], [a, np.diag(b)]])
        product = product @ np.block([[np.diag(c), d], [zero, eye]])
    np.testing.assert_allclose(product, matrix, atol=1e-12 * np.abs(matrix).max())
    np.testing.assert_allclose(found.product(), product, atol=1e-12 * np.abs(matrix).max())


def test_a_negative_determinant_takes_one_negative_scale():
    matrix = positive(RNG.normal(size=(10, 10)))
    matrix[3] *= -1
    assert np.linalg.det(matrix) < 0
    found = factorize(matrix)
    assert (found.B < 0).sum() == 1 and found.C.min() > 0
    np.testing.assert_allclose(found.product(), matrix, atol=1e-12)


def test_what_has_no_factorization_is_refused():
    with pytest.raises(ValueError, match="square of even size"):
        factorize(np.eye(3))
    with pytest.raises(ValueError, match="singular"):
        factorize(np.zeros((4, 4)))


def test_two_positive_pairs_stay_away_from_the_reflection_and_more_do_not():
    dim, starts = 4, 64
    targets = jnp.tile(jnp.asarray(reflection(dim), jnp.float32), (starts, 1, 1))
    keys = jax.random.split(jax.random.key(0), starts)
    errors = fit_couplings(
        targets, keys, jnp.array([2, 8]), jnp.array([0.03]), most=8, steps=1500, positive=True
    )
    two, eight = dim**2 * np.asarray(errors)[:, :, 0].T
    # The bound is proved; that the fits come close to it says that it is no accident of theirs.
    assert two.min() >= REFLECTION_BOUND and two.min() < 1.2 * REFLECTION_BOUND
    assert eight.min() < 1e-6


@pytest.mark.parametrize("kind", linear_couplings.LAYERS)
def test_a_layer_fits_a_matrix(kind):
    target = jnp.array([[[2.0, 1.0], [-1.0, 1.0]]])
    keys, rates = jax.random.split(jax.random.key(0), 1), jnp.array([0.03])
    assert fit_layers(target, keys, rates, kind=kind, steps=1000).item() < 1e-6


@pytest.mark.parametrize("positive", [True, False])
def test_only_active_pairs_count(positive):
    params = linear_couplings.start(jax.random.key(0), 3, 6)
    params = jax.tree.map(lambda a: a + 0.3, params)
    first = jax.tree.map(lambda a: a[:2], params)
    found = linear_couplings.product(params, jnp.array([True, True, False]), positive)
    whole = linear_couplings.product(first, jnp.array([True, True]), positive)
    np.testing.assert_allclose(found, whole, rtol=1e-6)
    scale = jnp.exp if positive else lambda a: 1 + a
    same = Couplings(first["A"], scale(first["B"]), scale(first["C"]), first["D"])
    np.testing.assert_allclose(found, same.product(), rtol=1e-5, atol=1e-6)


def test_the_study(tmp_path):
    few = dict(dims=(4,), pairs=(1, 4), matrices=2, steps=30, scales=("positive", "signed"))
    chosen = settings(STUDY, few)
    found = STUDY.measure(chosen, Record(tmp_path / "a.json", STUDY.name))
    assert "| one LU layer | " in STUDY.table(found)
    assert "| signed scales | d = 4 |" in STUDY.table(found)
    STUDY.draw(found).savefig(tmp_path / "a.png")
    again = STUDY.measure(chosen, Record(tmp_path / "a.json", STUDY.name))
    assert STUDY.table(again) == STUDY.table(found)
    with pytest.raises(ValueError, match="--dims got 5, expected even"):
        STUDY.measure(settings(STUDY, {"dims": (5,)}), Record(None, STUDY.name))
