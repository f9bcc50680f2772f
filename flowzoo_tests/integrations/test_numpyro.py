from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Labels

numpyro = pytest.importorskip("numpyro")

from numpyro import handlers, infer  # noqa: E402
import numpyro.distributions as dist  # noqa: E402

from flowzoo.integrations.numpyro import FlowDistribution  # noqa: E402


@pytest.fixture(scope="module")
def gaussian():
    """N((1, −2), diag(4, 1)), as a flow."""
    x = np.random.default_rng(0).normal(size=(100_000, 2)) * [2.0, 1.0] + [1.0, -2.0]
    flow = flowzoo.build({"name": "gaussian"}, (2,), rngs=nnx.Rngs(0))
    flow.initialize(x.astype(np.float32))
    return flow


def test_it_is_the_density_of_the_flow(gaussian):
    flow = FlowDistribution(gaussian)
    x = flow.sample(jax.random.key(0), (3, 4))
    assert x.shape == (3, 4, 2) and flow.log_prob(x).shape == (3, 4)
    np.testing.assert_allclose(flow.log_prob(x), gaussian.log_prob(x), rtol=1e-6)
    expanded = flow.expand((4,)).to_event(1)
    np.testing.assert_allclose(expanded.log_prob(x), gaussian.log_prob(x).sum(-1), rtol=1e-6)
    log_prob = jax.jit(lambda d, x: d.log_prob(x))(flow, x)
    np.testing.assert_allclose(log_prob, gaussian.log_prob(x), rtol=1e-5)


def test_labels_become_the_batch_shape():
    flow = flowzoo.build({"name": "made"}, (3,), context=Labels(5), rngs=nnx.Rngs(0))
    labels = jnp.array([0, 4])
    conditional = FlowDistribution(flow, labels)
    assert conditional.batch_shape == (2,) and conditional.event_shape == (3,)
    x = conditional.sample(jax.random.key(0), (7,))
    assert x.shape == (7, 2, 3)
    np.testing.assert_allclose(conditional.log_prob(x), flow.log_prob(x, labels), rtol=1e-6)
    with pytest.raises(ValueError, match="label 5"):
        FlowDistribution(flow, jnp.array(5))


def test_levels_are_real_numbers_within_their_range():
    digits = FlowDistribution(flowzoo.load_pretrained("digits_learned"))
    x = jnp.full(64, 8.5)
    assert bool(digits.support(x)) and not bool(digits.support(x + 9))
    assert jnp.isfinite(jax.grad(digits.log_prob)(x)).all()


def test_a_flow_is_a_prior_in_a_model(gaussian):
    def model(y):
        x = numpyro.sample("x", FlowDistribution(gaussian))
        numpyro.sample("y", dist.Normal(x[0], 1.0), obs=y)

    traced = handlers.trace(handlers.seed(model, 0)).get_trace(3.0)
    assert traced["x"]["value"].shape == (2,)
    kernel = infer.NUTS(model)
    mcmc = infer.MCMC(kernel, num_warmup=200, num_samples=1000, progress_bar=False)
    mcmc.run(jax.random.key(0), 3.0)
    # Prior variance 4 and noise variance 1 around the data 3.
    mean = mcmc.get_samples()["x"].mean(0)
    np.testing.assert_allclose(mean, [(1 / 4 + 3) / (1 / 4 + 1), -2.0], atol=0.15)
