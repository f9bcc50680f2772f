from flax import nnx
import jax.numpy as jnp
import numpy as np

from flowzoo import bases
from flowzoo.flow import Flow
from flowzoo.studies import three_couplings
from flowzoo.studies.planar import standardized, wasserstein
from flowzoo.studies.study import Record, settings
from flowzoo.studies.training import condition_numbers
from flowzoo.studies.two_steps import DIGITS, reach
from flowzoo.transforms import Dense
from flowzoo_tests.studies.stored import found_in_repository

STUDY = three_couplings.STUDY


def test_the_construction_comes_nearer_and_is_worse_conditioned():
    (data,) = standardized(["checkerboard"], 100_000, seed=0).astype(float)
    z = np.random.default_rng(0).normal(size=(1000, 2))
    target = data[:1000]
    found = [reach(data[1000:], z, delta) for delta in (1.0, 0.25, 0.0625)]
    distances = [wasserstein(one.samples, target) for one in found]
    floor = wasserstein(data[1000:2000], target)
    assert distances[0] > 1.5 * floor and distances[2] < 1.3 * floor
    assert distances == sorted(distances, reverse=True)
    conditions = [np.median(one.largest / one.smallest) for one in found]
    # As δ⁻².
    assert 12 < conditions[2] / conditions[1] < 20


def test_its_singular_values_are_those_of_its_jacobian():
    (data,) = standardized(["moons"], 20_000, seed=0).astype(float)
    delta, step = 0.2, 1e-6
    z = np.random.default_rng(2).uniform(-1.5, 1.5, size=(200, 2))
    at = reach(data, z, delta)
    np.testing.assert_allclose(at.largest * at.smallest, (delta / DIGITS) ** 2, rtol=1e-6)
    columns = []
    for axis in np.eye(2):
        ahead, behind = (reach(data, z + s * step * axis, delta).samples for s in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    jacobian = np.stack(columns, -1)
    # Away from the jumps, which are rare, and from the kinks of the empirical quantiles.
    smooth = np.abs(jacobian).max((1, 2)) < 50
    values = np.linalg.svd(jacobian[smooth], compute_uv=False)
    close = np.isclose(values[:, 0], at.largest[smooth], rtol=1e-3)
    assert smooth.mean() > 0.9 and close.mean() > 0.9


def test_two_by_two_conditioning():
    dense = Dense(2, rngs=nnx.Rngs(0))
    dense.weight[...] = jnp.array([[3.0, 1.0], [0.5, -0.2]])
    flow = Flow(bases.StandardNormal((2,)), dense)
    condition, largest = three_couplings.conditioning(flow, jnp.zeros((3, 2)))
    np.testing.assert_allclose(condition, condition_numbers(dense, jnp.zeros((3, 2))), rtol=1e-4)
    np.testing.assert_allclose(largest, np.linalg.norm(dense.weight[...], 2), rtol=1e-5)
    plain, heavy = (
        three_couplings.penalized(flow, jnp.ones((2, 2)), (0, weight)) for weight in (0.0, 2.0)
    )
    exact = 2 * np.log((9 + 1 + 0.25 + 0.04) / (2 * 1.1))
    np.testing.assert_allclose(heavy - plain, exact, rtol=1e-5)


def test_a_short_training(tmp_path):
    few = {"toys": ("moons",), "deltas": (0.5,), "widths": (8,), "steps": 2}
    few |= {"models": ("fully_connected",), "penalties": (0.1,)}
    found = STUDY.measure(settings(STUDY, few, smoke=True), Record(None, STUDY.name))
    assert "fully connected, 3 layers | 2 bins | 0.1 |" in STUDY.table(found)


def test_table_and_picture(tmp_path, monkeypatch):
    found = found_in_repository(STUDY, monkeypatch, tmp_path)
    assert "three couplings | 8 units | 0.1 |" in STUDY.table(found)
    STUDY.draw(found).savefig(tmp_path / "a.png")
