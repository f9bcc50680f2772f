"""Recipes of planar, radial, Sylvester, residual, neural autoregressive and Gaussianization
flows."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo import transforms as T
from flowzoo.context import Features, Labels
from flowzoo_tests.perturb import perturbed
from flowzoo_tests.zoo.integral import integral

SMALL = {
    "planar": dict(num_layers=5),
    "radial_flow": dict(num_layers=5),
    "sylvester": dict(num_layers=2, num_reflections=2),
    "naf": dict(num_layers=2, num_units=3, hidden_sizes=(8,)),
    "bnaf": dict(num_layers=1, hidden_units=(3,)),
    "residual_flow": dict(num_layers=2, hidden_sizes=(6,)),
    "gaussianization": dict(num_layers=3, num_components=3),
}


def build(name, dim=3, context=None, **options):
    config = {"name": name, **SMALL[name], **options}
    return flowzoo.build(config, (dim,), context=context, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("context", [Labels(3), Features(2)])
def test_conditional_density_and_samples(name, context):
    flow = perturbed(build(name, context=context), 0.2)
    raw, other = {
        Labels: (jnp.array([0] * 4), jnp.array([1] * 4)),
        Features: (jnp.zeros((4, 2)), jnp.ones((4, 2))),
    }[type(context)]

    @jax.jit
    def sample(flow, context):
        x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (5,), context)
        return x, log_prob, flow.log_prob(x, context)

    x, log_prob, again = sample(flow, raw)
    assert x.shape == (5, 4, 3)
    np.testing.assert_allclose(log_prob, again, rtol=1e-3, atol=1e-3)
    assert bool(jnp.all(sample(flow, other)[0] != x))


@pytest.mark.parametrize("name", SMALL)
def test_the_density_integrates_to_one(name, x64):
    flow = perturbed(build(name, dim=2))
    assert abs(integral(flow) - 1) < 1e-3


def layers(flow):
    """The transforms of a chain, those of its stacks one by one."""
    parts = [
        [t.layer(i).transforms[0] for i in range(len(t))] if isinstance(t, T.Stack) else [t]
        for t in flow.transform.transforms
    ]
    return sum(parts, [])


@pytest.mark.parametrize("name", ["planar", "radial_flow", "sylvester"])
def test_either_way_may_be_the_published_one(name):
    density = perturbed(build(name))
    samples = perturbed(build(name, closed_form="samples"))
    z = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    # The same layers, each inverted.
    x = z
    for layer in layers(samples)[::-1]:
        x = layer.transform.forward(x)
    np.testing.assert_allclose(samples.transform.inverse(z), x, atol=1e-5)
    assert not np.allclose(density.transform.forward(z), samples.transform.forward(z), atol=1e-3)
    with pytest.raises(ValueError, match="got closed_form 'both', expected one of density"):
        build(name, closed_form="both")


def test_a_planar_map_stays_invertible_however_it_is_trained(x64):
    layer = T.Planar(2, rngs=nnx.Rngs(0))
    # wᵀu = −50 would fold space over.
    layer.weight[...] = jnp.array([5.0, 0.0])
    layer.direction[...] = jnp.array([-10.0, 1.0])
    x = np.random.default_rng(0).normal(size=(200, 2))
    z, log_det = layer.forward_and_log_det(x)
    assert bool(jnp.isfinite(log_det).all())
    np.testing.assert_allclose(layer.inverse(z), x, atol=1e-9)


def test_a_sylvester_map_of_rank_one_is_planar(x64):
    layer = perturbed(T.Sylvester(3, rank=1, rngs=nnx.Rngs(0)), 0.5)
    x = np.random.default_rng(0).normal(size=(10, 3))
    q = layer.q.matrix()[:, 0]
    r, r_tilde = (0.999 * jnp.tanh(a[...][0]) for a in (layer.outer_diagonal, layer.inner_diagonal))
    expected = x + q * r * jnp.tanh(r_tilde * (x @ q) + layer.bias[...])[:, None]
    np.testing.assert_allclose(layer.forward(x), expected, atol=1e-12)


def test_a_residual_block_stays_a_contraction_however_it_is_trained(x64):
    layer = perturbed(T.ResidualBlock(2, hidden_sizes=(5,), lipschitz=0.9, rngs=nnx.Rngs(0)), 50.0)
    x, y = np.random.default_rng(0).normal(size=(2, 200, 2)) * 3
    distance = np.linalg.norm(x - y, axis=-1)
    moved = np.linalg.norm((layer.forward(x) - x) - (layer.forward(y) - y), axis=-1)
    assert 0.2 < (moved / distance).max() <= 0.9
    np.testing.assert_allclose(layer.inverse(layer.forward(x)), x, atol=1e-12)


def test_gaussianization_starts_from_the_quantiles_of_the_data():
    x = np.random.default_rng(0).exponential(size=(2000, 3)).astype(np.float32)
    flow = build("gaussianization", num_components=8)
    before = float(flow.log_prob(x).mean())
    flow.initialize(x)
    z = np.asarray(flow.transform.forward(x))
    assert float(flow.log_prob(x).mean()) > before + 0.5
    np.testing.assert_allclose(z.mean(0), 0, atol=0.15)
    np.testing.assert_allclose(z.std(0), 1, atol=0.15)


def test_bad_options_are_refused():
    for name in SMALL:
        with pytest.raises(ValueError, match=f"{name} got num_layers 0"):
            build(name, num_layers=0)
        with pytest.raises(ValueError, match=rf"{name} got event_shape \(2, 2\)"):
            flowzoo.build({"name": name}, (2, 2), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Sylvester got rank 4, expected 1 to 3"):
        build("sylvester", rank=4)
