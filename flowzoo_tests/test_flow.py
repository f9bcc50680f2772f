"""A flow's density, samples, gradients and error sentences."""

import re

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import flowzoo
from flowzoo.bases.factorial import StandardNormal
from flowzoo.context import Features, Labels
from flowzoo.transforms import Affine, Chain, Dense, Permutation, Transform
from flowzoo_tests.perturb import perturbed

log_prob = jax.jit(lambda flow, x, context=None: flow.log_prob(x, context))


def relative_flow(dim=3, seed=0, **options):
    config = {
        "name": "fully_connected",
        "nonlinearity": {"name": "smooth_leaky_relu", "alpha": 0.3},
    } | options
    return perturbed(flowzoo.build(config, (dim,), rngs=nnx.Rngs(seed)), scale=0.3)


def in_float64(flow):
    return jax.tree.map(lambda a: a.astype(jnp.float64), flow)


class Shift(Transform):
    """`z = x − c A`: the least that depends on a context."""

    def __init__(self, weight):
        self.event_shape = weight.shape[1:]
        self.weight = nnx.Param(jnp.asarray(weight, jnp.float32))

    def forward_and_log_det(self, x, context=None):
        z = x - context @ self.weight[...]
        return z, jnp.zeros(z.shape[:-1])

    def inverse_and_log_det(self, z, context=None):
        x = z + context @ self.weight[...]
        return x, jnp.zeros(x.shape[:-1])


def conditional_flow(context):
    """Its draws lie around 1000 times the label, or the product of features (1000, 1)."""
    column = 1000.0 * np.arange(context.size) if isinstance(context, Labels) else [1000.0, 1.0]
    return flowzoo.Flow(StandardNormal((2,)), Shift(np.stack([column, column], -1)), context)


def test_log_prob_is_that_of_the_latents_plus_log_det(x64):
    flow = in_float64(relative_flow())
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    (w1, b1), (w2, b2) = (flow.transform.transforms[i].parameters for i in (0, 2))
    y = x @ w1.T + b1
    z = (0.3 * y + 0.7 * np.logaddexp(0, y)) @ w2.T + b2
    slope = 0.3 + 0.7 / (1 + np.exp(-y))
    expected = (
        scipy.stats.norm.logpdf(z).sum(-1)
        + np.log(slope).sum(-1)
        + np.linalg.slogdet(w1)[1]
        + np.linalg.slogdet(w2)[1]
    )
    np.testing.assert_allclose(log_prob(flow, x), expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{"base": "hyperbolic_secant"}, {"nonlinearity": "tanh_mix"}])
def test_density_integrates_to_one(options):
    flow = relative_flow(dim=2, **options)
    axis, spacing = np.linspace(-80, 80, 801, dtype=np.float32, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    density = np.exp(np.asarray(log_prob(flow, grid), np.float64))
    assert density[[0, -1]].max() < 1e-7 and density[:, [0, -1]].max() < 1e-7
    np.testing.assert_allclose(density.sum() * spacing**2, 1, atol=1e-4)


CONTEXTS = {
    "none": (None, None),
    "one label": (Labels(3), 2),
    "labels": (Labels(3), np.array([2, 0, 1, 0])),
    "one vector": (Features(2), np.array([1.0, 5.0], np.float32)),
    "vectors": (Features(2), np.arange(8, dtype=np.float32).reshape(2, 2, 2)),
}


@pytest.mark.parametrize("sample_shape", [(), (3, 2)])
@pytest.mark.parametrize("name", CONTEXTS)
def test_samples(name, sample_shape):
    spec, context = CONTEXTS[name]
    flow = conditional_flow(spec) if spec else relative_flow(dim=2)
    batch_shape = spec.encode(context).shape[:-1] if spec else ()

    @jax.jit
    def draw(flow, key):
        x, log_prob = flow.sample_and_log_prob(key, sample_shape, context)
        return x, log_prob, flow.log_prob(x, context), flow.sample(key, sample_shape, context)

    x, log_prob, expected_log_prob, same = draw(flow, jax.random.key(0))
    chex.assert_shape([x, same], (*sample_shape, *batch_shape, 2))
    chex.assert_shape([log_prob, expected_log_prob], (*sample_shape, *batch_shape))
    np.testing.assert_allclose(log_prob, expected_log_prob, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(x, same)
    assert len(np.unique(x)) == x.size
    if spec:
        columns = np.asarray(spec.encode(context)) @ np.asarray(flow.transform.weight[...])
        assert np.abs(x - columns).max() < 6


def test_labels_meet_events_by_broadcasting():
    flow = conditional_flow(Labels(3))
    x = np.random.default_rng(0).normal(size=(4, 1, 2)).astype(np.float32)
    both = log_prob(flow, x, np.array([0, 2]))
    assert both.shape == (4, 2)
    np.testing.assert_allclose(both[:, 1:], log_prob(flow, x, 2), rtol=1e-6)
    assert np.all(both[:, 1] < both[:, 0] - 1e5)


def test_jit_vmap_and_grad_go_through():
    flow = relative_flow()
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected = log_prob(flow, x)
    mapped = jax.jit(jax.vmap(lambda flow, x: flow.log_prob(x), in_axes=(None, 0)))(flow, x)
    np.testing.assert_allclose(mapped, expected, rtol=1e-5)
    np.testing.assert_allclose(flow.log_prob(x), expected, rtol=1e-5)

    # Many flows at once are one flow with a leading axis on every array.
    flows = jax.tree.map(lambda *a: jnp.stack(a), flow, relative_flow(seed=1))
    of_both = jax.jit(jax.vmap(lambda flow, x: flow.log_prob(x), in_axes=(0, None)))(flows, x)
    np.testing.assert_allclose(of_both[0], expected, rtol=1e-5)
    assert np.all(np.abs(of_both[1] - expected) > 1e-3)


def test_gradient_is_the_true_one(x64):
    flow = in_float64(relative_flow())
    x = np.random.default_rng(0).normal(size=(7, 3))
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)

    @jax.jit
    def value_and_gradients(parameters, x):
        flow = nnx.merge(graph, parameters, rest)
        value, gradient = nnx.value_and_grad(lambda flow: flow.log_prob(x).mean())(flow)
        return value, gradient, jax.grad(lambda x: flow.log_prob(x).mean())(x)

    _, gradient, x_gradient = value_and_gradients(parameters, x)
    rng = np.random.default_rng(1)
    h = 1e-5
    # Along random directions of each array by itself, and of x.
    leaves, structure = jax.tree.flatten(parameters)
    for i, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        direction = rng.normal(size=leaf.shape)
        ahead, behind = (
            value_and_gradients(
                jax.tree.unflatten(
                    structure, [*leaves[:i], leaf + s * direction, *leaves[i + 1 :]]
                ),
                x,
            )[0]
            for s in (h, -h)
        )
        np.testing.assert_allclose(
            (ahead - behind) / (2 * h), np.vdot(slope, direction), rtol=1e-7, atol=1e-9
        )
    direction = rng.normal(size=x.shape)
    ahead, behind = (value_and_gradients(parameters, x + s * direction)[0] for s in (h, -h))
    np.testing.assert_allclose(
        (ahead - behind) / (2 * h), np.vdot(x_gradient, direction), rtol=1e-7, atol=1e-9
    )


def test_gradient_of_one_layer_by_hand(x64):
    flow = in_float64(perturbed(flowzoo.Flow(StandardNormal((3,)), Dense(3, rngs=nnx.Rngs(0)))))
    x = np.random.default_rng(0).normal(size=(7, 3))
    gradient = jax.jit(nnx.grad(lambda flow: flow.log_prob(x).mean()))(flow)
    weight, bias = flow.transform.parameters
    z = x @ weight.T + bias
    np.testing.assert_allclose(
        gradient.transform.weight[...], -z.T @ x / 7 + np.linalg.inv(weight).T, rtol=1e-10
    )
    np.testing.assert_allclose(gradient.transform.bias[...], -z.mean(0), rtol=1e-10)


def test_fixed_arrays_get_no_gradient():
    transform = Chain([Affine((3,), scale=2.0), Permutation([2, 0, 1]), Dense(3, rngs=nnx.Rngs(0))])
    flow = flowzoo.Flow(StandardNormal((3,)), transform)
    gradient = jax.jit(nnx.grad(lambda flow: flow.log_prob(jnp.ones(3))))(flow)
    assert [leaf.shape for leaf in jax.tree.leaves(gradient)] == [(3,), (3, 3)]


X = np.zeros((4, 2), np.float32)


@pytest.mark.parametrize(
    ("spec", "x", "context", "sentence"),
    [
        (
            None,
            np.zeros((4, 3)),
            None,
            "log_prob got an array of shape (4, 3), expected [..., *(2,)]",
        ),
        (None, 1.0, None, "log_prob got an array of shape (), expected"),
        (None, [[1, 2]], None, "dtype int32, expected floating point"),
        (None, X > 0, None, "dtype bool, expected floating point"),
        (None, X, 1, "unconditional and takes no context"),
        (Labels(3), X, None, "conditioned on Labels(num_classes=3); pass context="),
        (Labels(3), X, [0, 1, 2, 3], "holds the label 3, expected labels 0 … 2"),
        (Labels(3), X, -1, "holds the label -1, expected labels 0 … 2"),
        (Labels(3), X, np.zeros(4), "dtype float64, expected integer class labels 0 … 2"),
        (Features(2), X, [0, 1], "dtype int32, expected floating-point features [..., 2]"),
        (Features(2), X, np.zeros((4, 3)), "shape (4, 3), expected features [..., 2]"),
        (Features(2), X, 1.0, "shape (), expected features [..., 2]"),
        (Labels(3), X, [0, 1, 2], "contexts of batch shape (3,) and events of batch shape (4,)"),
        (Features(2), X, np.zeros((3, 2)), "batch shape (3,) and events of batch shape (4,)"),
    ],
)
def test_errors_of_log_prob_are_sentences(spec, x, context, sentence):
    flow = conditional_flow(spec) if spec else relative_flow(dim=2)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        flow.log_prob(x, context)


@pytest.mark.parametrize("method", ["sample", "sample_and_log_prob"])
def test_errors_of_sampling_are_sentences(method):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="unconditional and takes no context"):
        getattr(relative_flow(), method)(key, (2,), np.zeros(2))
    with pytest.raises(ValueError, match="pass context="):
        getattr(conditional_flow(Labels(3)), method)(key, (2,))
    with pytest.raises(ValueError, match="holds the label 7"):
        getattr(conditional_flow(Labels(3)), method)(key, (2,), [7])


def test_base_and_transform_must_fit():
    with pytest.raises(ValueError, match=r"shape \(2,\) .* latents have shape \(3,\)"):
        flowzoo.Flow(StandardNormal((2,)), Dense(3, rngs=nnx.Rngs(0)))


def test_known_labels_are_checked_where_other_arguments_are_traced():
    flow = conditional_flow(Labels(3))
    with pytest.raises(ValueError, match="holds the label 3"):
        jax.jit(lambda x: flow.log_prob(x, np.array([0, 1, 2, 3])))(X)


@pytest.mark.parametrize("name", ["maf_mog", "real_nvp", "gaussian"])
@pytest.mark.parametrize("context", [None, Labels(3)])
def test_batches_without_an_event_are_empty_arrays(name, context):
    flow = flowzoo.build({"name": name}, (4,), context=context, rngs=nnx.Rngs(0))
    labels = None if context is None else np.array([0, 2])
    batch = (0,) if context is None else (0, 2)
    assert flow.sample(jax.random.key(0), (0,), labels).shape == (*batch, 4)
    x, log_prob = flow.sample_and_log_prob(jax.random.key(0), (0,), labels)
    assert x.shape == (*batch, 4) and log_prob.shape == batch
    assert flow.log_prob(x, labels).shape == batch


def test_build_takes_a_seed_and_refuses_what_is_neither_shape_nor_context():
    def weights(rngs):
        flow = flowzoo.build("made", (3,), rngs=rngs)
        return jax.tree.leaves(nnx.state(flow, nnx.Param))

    chex.assert_trees_all_equal(weights(3), weights(nnx.Rngs(3)))
    for options, sentence in (
        ({"rngs": "zero"}, "rngs 'zero', expected nnx.Rngs or a seed"),
        ({"context": 3}, "context 3, expected what to condition on"),
        ({"event_shape": 3}, "event_shape 3, expected a shape"),
    ):
        with pytest.raises(ValueError, match=sentence):
            flowzoo.build("made", **{"event_shape": (3,), "rngs": 0} | options)
    flow = flowzoo.build("made", (3,), context=Labels(2), rngs=0)
    with pytest.raises(ValueError, match="label -1, expected labels 0 … 1"):
        flow.log_prob(np.zeros((2, 3), np.float32), np.array([-1, 1]))


def test_dir_lists_what_there_is():
    assert set(flowzoo.__all__) <= set(dir(flowzoo))
    assert not {"importlib", "TYPE_CHECKING"} & set(dir(flowzoo))
    assert all(getattr(flowzoo, name) is not None for name in flowzoo.__all__)


def test_denoising_gives_the_mean_of_the_data_behind_noisy_ones():
    """Of normal data with variance τ² behind noise of variance σ², that is `x τ²/(τ² + σ²)`."""
    tau, sigma = np.array([0.5, 1.0, 2.0]), 0.7
    noisy = Affine((3,), scale=np.sqrt(tau**2 + sigma**2))
    flow = flowzoo.Flow(StandardNormal((3,)), noisy)
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    expected = x * tau**2 / (tau**2 + sigma**2)
    np.testing.assert_allclose(flow.denoise(x, sigma), expected, rtol=1e-5)
    near = conditional_flow(Labels(3)).denoise(x[0, 0, :2], 1.0, np.array([0, 1, 2, 1]))
    np.testing.assert_allclose(near, np.broadcast_to(1000.0 * np.c_[[0, 1, 2, 1]], (4, 2)))
