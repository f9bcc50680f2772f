import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.studies import padding
from flowzoo.studies.padding import STUDY, Task, augmented, make_flows, pad
from flowzoo.studies.planar import wasserstein
from flowzoo_tests.studies.stored import found_in_repository

TASK = Task((2,), np.random.default_rng(0).normal(size=(1, 1500, 2)).astype(np.float32), None)


@pytest.mark.parametrize("kind", ["zeros", "gaussian", "clipped"])
def test_padding_lengthens_the_last_axis(kind):
    x = jnp.ones((300, 8, 8, 1))
    found = np.asarray(pad(x, jax.random.key(0), padding.NOISE[kind], 1)).reshape(300, 8, 8, 2)
    assert np.all(found[..., 0] == 1)
    noise = found[..., 1]
    if kind == "zeros":
        assert not noise.any()
    else:
        assert abs(noise.mean()) < 0.03 and abs(noise).max() > 0.99
        assert (abs(noise) == 1).any() == (abs(noise).max() == 1) == (kind == "clipped")


def test_an_augmented_flow_is_the_flow_on_padded_events():
    (flow,) = make_flows("couplings", TASK, 2, 0)
    whole = augmented(flow, TASK, 2)
    x = jnp.asarray(TASK.pool[0, :5])
    noise = whole.transform.transforms[0].draw(x)
    log_q = -0.5 * (noise**2 + jnp.log(2 * jnp.pi)).sum(-1)
    joint = flow.log_prob(jnp.concatenate([x, noise], -1))
    np.testing.assert_allclose(whole.log_prob(x), joint - log_q, rtol=1e-5)


def test_wasserstein_is_that_of_the_best_assignment():
    x = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]])
    np.testing.assert_allclose(wasserstein(x[::-1] + [0.3, 0.4], x), 0.5)
    assert wasserstein(np.full((3, 2), np.nan), x) == np.inf


def test_table_and_picture(tmp_path, monkeypatch):
    """Of trainings that are over; the notebook on depth and conditioning runs short ones."""
    found = found_in_repository(STUDY, monkeypatch, tmp_path)
    zeros = found["cells"]["planar", "couplings", "zeros", 2]
    assert "nats" not in zeros and np.shape(zeros["conditions"]) == (padding.EPOCHS + 1, 3, 4)
    assert "| moons | Real NVP | gaussian, + 2 |" in STUDY.table(found)
    STUDY.draw(found).savefig(tmp_path / "a.png")
