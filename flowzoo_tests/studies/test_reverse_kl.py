import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.studies import reverse_kl
from flowzoo.studies.study import Record, settings

STUDY = reverse_kl.STUDY


@pytest.mark.parametrize("name", ["funnel", "banana", "mixture"])
def test_a_density_is_normalised_and_its_draws_are_its_own(name, x64):
    """The mean of `q(x) / p(x)` over draws of p is one for any normalised q."""
    target = reverse_kl.TARGETS[name]
    x = jnp.asarray(target.draw(np.random.default_rng(0), 20_000))
    # Near the draws, and within their range, so that the weights are bounded.
    center, scale = x.mean(0), 0.3 * x.std(0)
    if name == "funnel":
        center, scale = jnp.zeros(10), jnp.full(10, 0.5)
    log_q = (-0.5 * ((x - center) / scale) ** 2 - jnp.log(scale * jnp.sqrt(2 * jnp.pi))).sum(-1)
    weights = jnp.exp(log_q - jax.vmap(target.log_density)(x))
    error = float(weights.std()) / len(x) ** 0.5
    assert error < 0.1 and abs(float(weights.mean()) - 1) < 4 * error


def test_moments_are_compared_in_units_of_the_reference():
    one = {"mean": [1.0, 0.0], "deviation": [1.0, 3.0]}
    other = {"mean": [0.0, 0.0], "deviation": [2.0, 1.0]}
    assert reverse_kl.against(one, other) == (0.5, 0.5, 3.0)


def test_the_study(tmp_path):
    pytest.importorskip("numpyro")
    found = STUDY.measure(settings(STUDY, smoke=True), Record(None, STUDY.name))
    lines = STUDY.table(found).splitlines()
    assert lines[2].startswith("| banana | NUTS, against independent draws |")
    assert lines[3].startswith("| banana | Gaussian |") and len(lines) == 4
    STUDY.draw(found).savefig(tmp_path / "a.png")
