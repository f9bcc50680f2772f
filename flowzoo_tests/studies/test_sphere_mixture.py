import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.studies import sphere_mixture
from flowzoo.studies.sphere_mixture import STUDY
from flowzoo.studies.study import Record, settings
from flowzoo.zoo.parameters import num_parameters


def test_batches_follow_their_mixture():
    chosen = settings(STUDY, {"components": (3,), "dims": (2,)})
    (density,) = sphere_mixture.mixtures(chosen, 2)
    means = jnp.zeros((5, 2)).at[:3].set(density.means)
    x = np.asarray(sphere_mixture.draw_batch((means, 3), jax.random.key(0), 20_000))
    log_p = density.log_prob(x)
    entropy = density.entropy()
    assert abs(log_p.mean() + entropy.nats) < 4 * log_p.std() / np.sqrt(len(x)) + 1e-3


@pytest.mark.parametrize("model", sphere_mixture.MODELS)
def test_parameters_are_about_equal(model):
    data = [np.random.default_rng(0).normal(size=(50, 16))]
    for depth in (2, 8):
        (flow,) = sphere_mixture.make_flows(model, 16, depth, data, 0)
        assert abs(num_parameters(flow) / 16_000 - 1) < 0.1


def test_the_study(tmp_path):
    few = {"dims": (2,), "components": (4,), "models": ("maf",), "depths": (1,), "steps": 200}
    found = STUDY.measure(settings(STUDY, few), Record(None, STUDY.name))
    # The start, a standard normal, is 1.7 nats away.
    (gap,) = found["gaps"][2, "maf", 1]["gap"]
    assert -0.05 < gap < 1.5
    assert "| 2 | 4 | 1." in STUDY.table(found)
    STUDY.draw(found).savefig(tmp_path / "a.png")
