from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.data import load_dataset
from flowzoo.studies import partitions
from flowzoo.studies.partitions import STUDY, flat_flow, image_flow, make_flows
from flowzoo.studies.study import Record, settings
from flowzoo.zoo.parameters import num_parameters
from flowzoo_tests.perturb import perturbed

SHAPE = (4, 4, 1)


def kept(transform):
    """Which pixels of an image the first coupling leaves as they are, of a flow with one."""
    x = np.random.default_rng(0).normal(size=16).astype(np.float32)
    z = np.asarray(perturbed(transform, scale=0.5).forward(jnp.asarray(x)))
    return np.isin(x, z).reshape(4, 4)


@jax.jit
def there_and_back(transform, x):
    z, log_det = transform.forward_and_log_det(x)
    return z, transform.inverse(z), log_det, jax.jacrev(transform.forward)(x)


HALVES = {
    "half": np.arange(16).reshape(4, 4) < 8,
    "alternating": np.indices((4, 4))[1] % 2 == 0,
    "checkerboard": np.indices((4, 4)).sum(0) % 2 == 0,
}


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("make", [flat_flow, image_flow])
def test_the_first_coupling_keeps_that_half(make, kind):
    flow = make(kind, SHAPE, 1, 4, 0)
    np.testing.assert_array_equal(kept(flow.transform), HALVES[kind])


@pytest.mark.parametrize(
    ("make", "kind"),
    [(flat_flow, k) for k in partitions.FLAT] + [(image_flow, k) for k in partitions.IMAGES],
)
def test_every_coordinate_is_mapped(make, kind):
    flow = make(kind, SHAPE, 12 if kind == "random" else 2, 4, 0)
    transform = perturbed(flow.transform, scale=0.05)
    x = jnp.asarray(np.random.default_rng(1).normal(size=16), jnp.float32)
    z, back, log_det, jacobian = there_and_back(transform, x)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-2)
    np.testing.assert_allclose(back, x, atol=1e-3)
    assert not np.isin(np.asarray(z), np.asarray(x)).any()


def test_parameters_are_equal():
    digits = load_dataset("digits")
    for shape, kinds, budget in [
        ("flat", partitions.FIXED[2:], 100_000),
        ("flat", ("dense",), 100_000),
        ("image", ("channel",), 12_000),
        ("image", ("conv1x1",), 12_000),
    ]:
        flows = nnx.eval_shape(lambda: make_flows(shape, kinds, digits, 2, budget, 1))  # noqa: B023
        assert len({num_parameters(flow) for flow in flows}) == 1
        assert abs(num_parameters(flows[0]) / budget - 1) < 0.1


def test_the_study(tmp_path):
    few = {"shapes": ("image",), "couplings": (1,), "steps": 10, "batch": 4}
    found = STUDY.measure(settings(STUDY, few), Record(None, STUDY.name))
    assert "| digits | image | conv1x1 |" in STUDY.table(found)
    STUDY.draw(found).savefig(tmp_path / "a.png")


def test_more_dense_layers_than_parameters_are_refused():
    chosen = settings(STUDY, {"shapes": ("flat",), "couplings": (2, 25)})
    with pytest.raises(ValueError, match="--couplings got 25 for flat digits, expected at most 24"):
        STUDY.measure(chosen, Record(None, STUDY.name))
