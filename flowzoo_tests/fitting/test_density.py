"""Training against a density: known normalisers, the landing, supports, and refusals."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.fitting.density import (
    fit_to_density,
    importance_weights,
    reverse_kl,
    summary,
    tempered,
)
from flowzoo_tests.perturb import perturbed

MEAN = jnp.array([1.0, -2.0])
FACTOR = jnp.array([[2.0, 0.0], [1.5, 0.5]])  # |det| = 1


def correlated(x):
    """A Gaussian times e³ √(2π)² of its normaliser: log Z = 3 + log 2π."""
    z = jnp.linalg.solve(FACTOR, x - MEAN)
    return 3 - 0.5 * (z @ z)


def test_a_gaussian_lands_on_a_gaussian():
    fit = fit_to_density(correlated, (2,), "gaussian", num_steps=1500, learning_rate=0.03)
    log_z = 3 + math.log(2 * math.pi)
    assert -0.01 < fit.elbo - log_z < 1e-3 and fit.elbo_error < 3e-3
    assert abs(fit.log_normalizer - log_z) < 2e-3
    assert fit.effective_sample_size > 0.99
    samples = np.asarray(fit.flow.sample(jax.random.key(0), (20_000,)))
    np.testing.assert_allclose(samples.mean(0), MEAN, atol=0.12)
    np.testing.assert_allclose(np.cov(samples.T), FACTOR @ FACTOR.T, atol=0.2)
    assert fit.elbos.shape == (1500,) and fit.elbos[:10].mean() < fit.elbo


def test_sticking_the_landing_leaves_no_noise_at_the_optimum():
    model = dict(name="real_nvp", num_layers=2, hidden_sizes=(8,), batch_norm=False)
    flow = perturbed(flowzoo.build(model, (2,), rngs=nnx.Rngs(0)))
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)
    key = jax.random.key(0)

    def largest(sticking):  # of the gradient for the density that the flow has already
        loss = reverse_kl(graph, rest, flow.log_prob, 16, sticking)
        gradient = jax.jit(jax.grad(lambda p: loss(p, 1.0, key)[0]))(parameters)
        return max(float(jnp.abs(a).max()) for a in jax.tree.leaves(gradient))

    assert largest(True) < 1e-5 and largest(False) > 1e-2


def test_supports_keep_samples_inside():
    def log_density(x):  # an exponential of rate 2 and a Beta(2, 3) with their normalisers
        return math.log(2) - 2 * x[0] + math.log(12) + jnp.log(x[1]) + 2 * jnp.log1p(-x[1])

    fit = fit_to_density(
        log_density,
        (2,),
        "gaussian",
        supports=["positive", "unit"],
        num_steps=200,
        learning_rate=0.1,
    )
    # A Gaussian on the supports comes near, and weights make up for the rest.
    assert -0.04 < fit.elbo < 0 and abs(fit.log_normalizer) < 0.02
    x = fit.flow.sample(jax.random.key(0), (4000,))
    assert bool(jnp.all((x[:, 0] > 0) & (x[:, 1] > 0) & (x[:, 1] < 1)))
    np.testing.assert_allclose(x.mean(0), [0.5, 0.4], atol=0.04)


def test_an_inverted_flow_samples_in_one_pass():
    model = dict(name="maf", num_layers=2, hidden_sizes=(8,), batch_norm=False)
    fit = fit_to_density(
        correlated, (2,), model, inverted=True, sticking_the_landing=False, num_steps=5
    )
    program = str(jax.make_jaxpr(lambda flow: flow.sample(jax.random.key(0), (3,)))(fit.flow))
    assert "while" not in program and "scan" not in program


def test_annealing_rises_to_the_density_itself():
    steps = jnp.arange(10)
    np.testing.assert_allclose(tempered(steps, 0.0), 1)
    factors = np.asarray(tempered(steps, 4.0))
    np.testing.assert_allclose(factors, [0.01, 0.2575, 0.505, 0.7525, *[1] * 6], rtol=1e-6)


def test_a_tempered_density_counts_less():
    flow = flowzoo.build("gaussian", (2,), rngs=nnx.Rngs(0))
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)
    loss = reverse_kl(graph, rest, correlated, 64, True)
    full, elbo = loss(parameters, 1.0, jax.random.key(0))
    half, same = loss(parameters, 0.5, jax.random.key(0))
    np.testing.assert_allclose([full, same], [-elbo, elbo], rtol=1e-5)
    log_p = jax.vmap(correlated)(flow.sample(jax.random.key(0), (64,)))
    np.testing.assert_allclose(half - full, 0.5 * log_p.mean(), rtol=1e-4)


def test_weights_are_summed_up_as_the_formulas_say():
    log_weights = np.log([1.0, 2.0, 3.0])
    elbo, error, log_z, share = summary(log_weights)
    assert abs(elbo - math.log(6) / 3) < 1e-12
    assert abs(error - log_weights.std() / math.sqrt(3)) < 1e-12
    assert abs(log_z - math.log(2)) < 1e-12 and abs(share - 36 / 14 / 3) < 1e-12
    # Weights far outside the range of numbers.
    np.testing.assert_allclose(summary(log_weights + 5000)[2], log_z + 5000)


def test_weights_of_the_exact_density_are_equal():
    flow = flowzoo.build("gaussian", (2,), rngs=nnx.Rngs(0))
    weights = importance_weights(lambda x: -0.5 * x @ x, flow, 1500)
    assert weights.shape == (1500,)
    np.testing.assert_allclose(weights, math.log(2 * math.pi), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(num_steps=0), "num_steps 0, expected at least 1"),
        (dict(learning_rate=-1.0), "learning_rate -1.0, expected"),
        (dict(annealing=2), "annealing 2, expected a share"),
        (dict(supports=["real"]), "supports of 1 coordinates"),
        (dict(model="maff"), "Did you mean 'maf'"),
    ],
)
def test_wrong_arguments_are_refused_in_sentences(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_to_density(correlated, (2,), **options)


def test_a_density_that_is_not_finite_stops_the_run():
    with pytest.raises(FloatingPointError, match="not finite in step 0"):
        fit_to_density(lambda x: jnp.log(-1 - x @ x), (2,), "gaussian", num_steps=3)
