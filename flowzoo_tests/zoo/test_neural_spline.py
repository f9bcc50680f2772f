"""The recipes of neural spline flows."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo.context import Features, Labels
from flowzoo.zoo.neural_spline import LINEAR
from flowzoo.zoo.parameters import match_parameters
from flowzoo_tests.perturb import perturbed
from flowzoo_tests.zoo.integral import integral

SMALL = {
    "nsf_coupling": dict(num_layers=2, hidden_sizes=(8, 8), num_bins=4),
    "nsf_autoregressive": dict(num_layers=2, hidden_sizes=(8, 8), num_bins=4),
}


def build(name, dim=3, context=None, **options):
    config = {"name": name, **SMALL[name], **options}
    return flowzoo.build(config, (dim,), context=context, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("context", [None, Labels(3), Features(2)])
def test_density_and_samples(name, context):
    flow = perturbed(build(name, context=context), 0.1)
    raw, other = {
        type(None): (None, None),
        Labels: (jnp.array([0] * 4), jnp.array([1] * 4)),
        Features: (jnp.zeros((4, 2)), jnp.ones((4, 2))),
    }[type(context)]

    @jax.jit
    def sample(flow, context):
        x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (5,), context)
        return x, log_prob, flow.log_prob(x, context)

    x, log_prob, again = sample(flow, raw)
    assert x.shape == ((5, 3) if context is None else (5, 4, 3))
    np.testing.assert_allclose(log_prob, again, rtol=1e-3, atol=1e-3)
    assert bool(jnp.all(sample(flow, other)[0] != x)) == (context is not None)


@pytest.mark.parametrize("name", SMALL)
def test_the_density_integrates_to_one(name, x64):
    flow = perturbed(build(name, dim=2, num_layers=3))
    assert abs(integral(flow) - 1) < 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_many_layers_are_one_loop(name, x64):
    # The same random numbers in the same order, with and without the loop.
    deep = build(name, num_layers=7)
    loop = deep.transform.transforms[0]
    assert len(loop) == {"nsf_coupling": 3, "nsf_autoregressive": 7}[name]
    flow = perturbed(deep)
    layers = [t for i in range(len(loop)) for t in flow.transform.transforms[0].layer(i).transforms]
    row = flowzoo.transforms.Chain([*layers, *list(flow.transform.transforms)[1:]])
    x = np.random.default_rng(0).normal(size=(5, 3))
    forward = jax.jit(lambda transform, x: transform.forward_and_log_det(x))
    for ours, theirs in zip(forward(flow.transform, x), forward(row, x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("linear", LINEAR)
def test_every_linear_layer_fits_between(linear):
    flow = build("nsf_coupling", linear=linear)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    z = flow.transform.forward(x)
    np.testing.assert_allclose(flow.transform.inverse(z), x, atol=1e-4)


def test_widths_can_be_matched_to_a_number_of_parameters():
    config = match_parameters({"name": "nsf_coupling", **SMALL["nsf_coupling"]}, (6,), 3000)
    assert config["hidden_sizes"][0] > 8


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"nsf_coupling got event_shape \(1,\).* D >= 2"):
        build("nsf_coupling", dim=1)
    with pytest.raises(ValueError, match="nsf_autoregressive got num_layers 0"):
        build("nsf_autoregressive", num_layers=0)
    with pytest.raises(ValueError, match="got linear 'lu', expected one of reverse, plu"):
        build("nsf_coupling", linear="lu")
