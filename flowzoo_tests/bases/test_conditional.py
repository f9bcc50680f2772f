"""Conditional factorial bases against SciPy, and the hidden Markov base against enumeration."""

import itertools

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import flowzoo
from flowzoo import bases, transforms
from flowzoo.bases.conditional import FAMILIES, GENERALIZED, generalized_normal
from flowzoo.context import Features, Labels

NAMES = [*FAMILIES, GENERALIZED]
LAW = {
    "normal": scipy.stats.norm(),
    "laplace": scipy.stats.laplace(),
    "hyperbolic_secant": scipy.stats.hypsecant(scale=2 / np.pi),
    "logistic": scipy.stats.logistic(),
    GENERALIZED: scipy.stats.gennorm(1.3),
}


def table(family, dim=2, num_classes=3):
    """A base over three classes whose means and scales differ."""
    base = bases.ConditionalFactorial((dim,), context=Labels(num_classes), family=family)
    rng = np.random.default_rng(0)
    base.mean[...] = jnp.asarray(2 * rng.normal(size=base.mean.shape))
    base.log_scale[...] = jnp.asarray(0.5 * rng.normal(size=base.mean.shape))
    if family == GENERALIZED:
        base.family.log_exponent[...] = jnp.asarray(
            np.full(dim, 1.5 * np.arctanh(np.log(1.3) / 1.5))
        )
    return base


def network(family="normal", dim=2):
    """A base on two real features, every parameter drawn."""
    base = bases.ConditionalFactorial(
        (dim,), context=Features(2), family=family, hidden_sizes=(5,), rngs=nnx.Rngs(0)
    )
    keys = iter(jax.random.split(jax.random.key(1), 20))
    params = nnx.state(base, nnx.Param)
    params = jax.tree.map(lambda a: 0.5 * jax.random.normal(next(keys), a.shape, a.dtype), params)
    nnx.update(base, params)
    return base


@pytest.mark.parametrize("family", NAMES)
def test_density_is_that_of_the_family_moved_and_scaled(family, x64):
    base = table(family)
    z = 2 * np.random.default_rng(1).normal(size=(7, 2))
    labels = np.arange(7) % 3
    log_prob = base.log_prob(jnp.asarray(z), Labels(3).encode(labels))
    mean, scale = np.asarray(base.mean[...]), np.exp(np.asarray(base.log_scale[...]))
    scale = np.exp(7 * np.tanh(np.log(scale) / 7))
    expected = LAW[family].logpdf((z - mean[labels]) / scale[labels]) - np.log(scale[labels])
    np.testing.assert_allclose(log_prob, expected.sum(-1), rtol=1e-9)


@pytest.mark.parametrize("family", NAMES)
def test_samples_follow_the_density_of_their_class(family):
    base = table(family)
    labels = np.array([0, 2, 2])
    z = base.sample(jax.random.key(0), (3000,), Labels(3).encode(labels))
    chex.assert_shape(z, (3000, 3, 2))
    for place, label in enumerate(labels):
        for i in range(2):
            v = (z[:, place, i] - base.mean[label, i]) / jnp.exp(base.log_scale[label, i])
            assert scipy.stats.kstest(np.asarray(v), LAW[family].cdf).pvalue > 1e-3
    # Independent across coordinates, and across the contexts of one class.
    assert abs(scipy.stats.spearmanr(z[:, 0, 0], z[:, 0, 1])[0]) < 0.06
    assert abs(scipy.stats.spearmanr(z[:, 1, 0], z[:, 2, 0])[0]) < 0.06


@pytest.mark.parametrize(
    ("kind", "family"),
    [*(("table", family) for family in NAMES), ("network", "normal"), ("network", GENERALIZED)],
)
def test_gradient_is_that_of_finite_differences(kind, family, x64):
    base = table(family) if kind == "table" else network(family)
    context = Labels(3).encode(jnp.array([0, 1, 2, 1]))
    if kind == "network":
        context = jax.random.normal(jax.random.key(2), (4, 2))
    z = jax.random.normal(jax.random.key(3), (4, 2))
    graph, params = nnx.split(base)
    flat, unflatten = jax.flatten_util.ravel_pytree((params, z))

    @jax.jit
    @jax.value_and_grad
    def total(flat):
        params, z = unflatten(flat)
        return nnx.merge(graph, params).log_prob(z, context).sum()

    gradient = total(flat)[1]
    assert np.mean(gradient != 0) > 0.8  # Of Laplace, signs may add up to zero.
    for direction in np.random.default_rng(4).normal(size=(3, len(flat))):
        values = [total(flat + sign * 1e-6 * direction)[0] for sign in (1, -1)]
        numeric = (values[0] - values[1]) / 2e-6
        np.testing.assert_allclose(gradient @ direction, numeric, rtol=1e-6, atol=1e-7)


def test_generalized_normal_is_finite_at_zero_and_far_out():
    v = jnp.array([0.0, 1e-30, -1e3])
    for exponent in (0.5, 1.0, 2.0, 8.0):
        value, slopes = jax.value_and_grad(
            lambda v, b: generalized_normal(v, b).sum(), argnums=(0, 1)
        )(v, jnp.full(3, exponent))
        chex.assert_tree_all_finite((value, slopes[1]))
        assert np.isfinite(slopes[0][0])


def test_starts_standard_and_independent_of_the_context():
    for context, encoded in (
        (Labels(2), jnp.eye(2)),
        (Features(2), jnp.array([[1.0, 2.0], [0.0, -3.0]])),
    ):
        base = bases.ConditionalFactorial((3,), context=context, rngs=nnx.Rngs(0))
        z = jax.random.normal(jax.random.key(0), (2, 3))
        expected = scipy.stats.norm.logpdf(z).sum(-1)
        np.testing.assert_allclose(base.log_prob(z, encoded), expected, rtol=1e-5)


def test_is_the_base_of_a_flow_whose_transform_does_not_see_u():
    dense = transforms.Dense(2, rngs=nnx.Rngs(0))
    flow = flowzoo.Flow(table("laplace"), dense, Labels(3))
    x = jax.random.normal(jax.random.key(0), (6, 2))
    labels = np.array([0, 1, 2, 0, 1, 2])
    each = [flow.log_prob(x[i], labels[i]) for i in range(6)]
    np.testing.assert_allclose(flow.log_prob(x, labels), np.stack(each), rtol=1e-5)
    np.testing.assert_array_equal(flow.log_prob(x, labels), flow.log_prob(x, jnp.asarray(labels)))
    assert flow.sample(jax.random.key(1), (4,), labels).shape == (4, 6, 2)
    with pytest.raises(ValueError, match="the label 3, expected labels 0 … 2"):
        flow.log_prob(x, labels + 1)
    with pytest.raises(ValueError, match="conditioned on"):
        flow.log_prob(x)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="The family is 'gauss', expected one of normal, laplace"):
        bases.ConditionalFactorial((2,), context=Labels(2), family="gauss")
    with pytest.raises(ValueError, match="got real features, profile False and rngs None"):
        bases.ConditionalFactorial((2,), context=Features(2))
    with pytest.raises(ValueError, match="context"):
        table("normal").log_prob(jnp.zeros((4, 2)), jnp.zeros((4, 2)))
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match=r"event_shape \(3,\), expected \(T, D\)"):
        bases.HiddenMarkov((3,), num_states=2, rngs=rngs)
    with pytest.raises(ValueError, match="0 states, expected at least 1"):
        bases.HiddenMarkov((3, 2), num_states=0, rngs=rngs)
    with pytest.raises(ValueError, match=r"stay 1.0, expected a probability in \(0, 1\)"):
        bases.HiddenMarkov((3, 2), num_states=2, stay=1.0, rngs=rngs)
    with pytest.raises(ValueError, match="Rows got length 0"):
        transforms.Rows(transforms.TanhMix((2,)), 0)


def markov(length=4, dim=2, num_states=3, family="normal"):
    base = bases.HiddenMarkov((length, dim), num_states=num_states, family=family, rngs=nnx.Rngs(0))
    rng = np.random.default_rng(0)
    for array in (base.log_scale, base.initial_logits, base.transition_logits):
        array[...] = jnp.asarray(array[...] + rng.normal(size=array.shape))
    return base


def softmax(a):
    return np.exp(a) / np.exp(a).sum(-1, keepdims=True)


def paths(base, z):
    """The probability of each path together with z, by enumeration: `{path: p}`."""
    initial, chain = (
        softmax(np.asarray(a[...], np.float64))
        for a in (base.initial_logits, base.transition_logits)
    )
    mean = np.asarray(base.mean[...], np.float64)
    scale = np.exp(7 * np.tanh(np.asarray(base.log_scale[...], np.float64) / 7))
    emission = scipy.stats.norm(mean, scale).pdf(np.asarray(z)[:, None, :]).prod(-1)
    found = {}
    for path in itertools.product(range(len(mean)), repeat=len(z)):
        p = initial[path[0]] * emission[0, path[0]]
        for t in range(1, len(z)):
            p *= chain[path[t - 1], path[t]] * emission[t, path[t]]
        found[path] = p
    return found


@pytest.mark.parametrize("length", [1, 4])
def test_hidden_markov_sums_over_all_paths(length, x64):
    base = markov(length)
    z = np.random.default_rng(1).normal(size=(2, 5, length, 2))
    log_prob = jax.jit(lambda base, z: base.log_prob(z))(base, jnp.asarray(z))
    expected = [[np.log(sum(paths(base, sequence).values())) for sequence in part] for part in z]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-10)


def test_hidden_markov_posterior_is_that_of_the_paths(x64):
    base = markov()
    z = np.random.default_rng(1).normal(size=(4, 2))
    found = paths(base, z)
    total = sum(found.values())
    expected = np.zeros((4, 3))
    for path, p in found.items():
        expected[np.arange(4), path] += p / total
    np.testing.assert_allclose(base.posterior(jnp.asarray(z)), expected, rtol=1e-9)


def test_hidden_markov_is_finite_on_long_sequences_far_out():
    base = markov(length=500)
    z = 100 * jax.random.normal(jax.random.key(0), (500, 2))
    value, gradient = jax.jit(jax.value_and_grad(lambda base, z: base.log_prob(z)))(base, z)
    chex.assert_tree_all_finite((value, jax.tree.leaves(gradient)))


def test_hidden_markov_samples_have_the_chain_and_the_emissions():
    base = bases.HiddenMarkov((6, 1), num_states=2, stay=0.8, rngs=nnx.Rngs(0))
    base.mean[...] = jnp.array([[-50.0], [50.0]])
    z = np.asarray(base.sample(jax.random.key(0), (3000,)))
    chex.assert_shape(z, (3000, 6, 1))
    state = (z[..., 0] > 0).astype(int)
    assert abs(state[:, 0].mean() - 0.5) < 0.04
    assert abs((state[:, 1:] == state[:, :-1]).mean() - 0.8) < 0.02
    noise = (z[..., 0] - np.where(state, 50, -50)).ravel()
    assert scipy.stats.kstest(noise, scipy.stats.norm.cdf).pvalue > 1e-3


def test_rows_map_each_step_by_itself(x64):
    """With a context too, and in a flow on a hidden Markov base."""
    dense = transforms.Dense(2, rngs=nnx.Rngs(0))
    affine = transforms.ConditionalAffine((2,), context_size=3)
    affine.mean[...] = jax.random.normal(jax.random.key(5), affine.mean.shape)
    one = transforms.Chain([dense, affine, transforms.TanhMix((2,))])
    rows = transforms.Rows(nnx.clone(one), 4)
    x = jax.random.normal(jax.random.key(0), (5, 4, 2))
    context = jax.random.normal(jax.random.key(1), (5, 3))
    z, log_det = rows.forward_and_log_det(x, context)
    for t in range(4):
        at, _ = one.forward_and_log_det(x[:, t], context)
        np.testing.assert_allclose(z[:, t], at, rtol=1e-10)
    each = sum(one.forward_and_log_det(x[:, t], context)[1] for t in range(4))
    np.testing.assert_allclose(log_det, each, rtol=1e-10)
    back, minus = rows.inverse_and_log_det(z, context)
    np.testing.assert_allclose(back, x, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(minus, -log_det, rtol=1e-7)
    flow = flowzoo.Flow(markov(), transforms.Rows(dense, 4))
    assert flow.log_prob(x).shape == (5,)


def test_rows_pass_data_to_what_starts_from_them():
    rows = transforms.Rows(transforms.Whiten(2, shrinkage=0.0), 3)
    x = np.random.default_rng(0).normal(size=(100, 3, 2)) @ np.array([[3.0, 1.0], [0.0, 0.5]]) + 7
    x = jnp.asarray(x, jnp.float32)
    flow = flowzoo.Flow(markov(length=3), rows)
    flow.initialize(x)
    z = np.asarray(rows.forward(x)).reshape(-1, 2)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(2), atol=1e-3)
    batch_norm = transforms.Rows(transforms.BatchNorm((2,)), 3)
    z = batch_norm.update_statistics(x)
    np.testing.assert_allclose(np.asarray(z).reshape(-1, 2).std(0), 1, rtol=1e-2)


@pytest.mark.parametrize("family", NAMES)
def test_a_profile_is_of_the_greatest_likelihood(family, x64):
    """In training, over the tables, that of the batch; for two families the scale matches σ."""
    trained = table(family)
    base = bases.ConditionalFactorial((2,), context=Labels(3), family=family, profile=True)
    if family == GENERALIZED:
        base.family.log_exponent[...] = trained.family.log_exponent[...]
    assert not jax.tree.leaves(nnx.state(base, nnx.Param)) or family == GENERALIZED
    labels = np.arange(6000) % 3
    z = trained.sample(jax.random.key(0), (), Labels(3).encode(labels))
    z, context = jnp.asarray(z, float), Labels(3).encode(labels)
    base.update_statistics(z, context)
    np.testing.assert_allclose(base.mean[...], trained.mean[...], atol=0.25)
    np.testing.assert_allclose(base.log_scale[...], trained.log_scale[...], atol=0.07)
    best = base.log_prob(z, context).mean()
    by_batch = transforms.with_modes(base, batch_statistics=True)
    np.testing.assert_allclose(by_batch.log_prob(z, context).mean(), best, rtol=1e-12)
    if family in ("normal", GENERALIZED):
        for shift in (-0.03, 0.03):
            base.log_scale[...] += shift
            assert base.log_prob(z, context).mean() < best
            base.log_scale[...] -= shift


def test_gradients_flow_through_a_profile(x64):
    """`z` and a stretched z differ by the log-determinant alone, so that the sum is flat."""
    base = transforms.with_modes(
        bases.ConditionalFactorial((2,), context=Labels(2), profile=True), batch_statistics=True
    )
    z = jax.random.normal(jax.random.key(0), (50, 2))
    context = Labels(2).encode(np.arange(50) % 2)

    def total(log_stretch):
        return base.log_prob(jnp.exp(log_stretch) * z, context).mean() + log_stretch.sum()

    np.testing.assert_allclose(jax.grad(total)(jnp.zeros(2)), 0, atol=1e-12)


def test_a_profile_survives_classes_with_one_row_or_none():
    base = transforms.with_modes(
        bases.ConditionalFactorial((2,), context=Labels(4), profile=True), batch_statistics=True
    )
    z = jax.random.normal(jax.random.key(0), (9, 2))
    context = Labels(4).encode(np.array([0] * 8 + [2]))
    value, gradient = jax.value_and_grad(lambda z: base.log_prob(z, context).sum())(z)
    chex.assert_tree_all_finite((value, gradient))


def test_update_statistics_of_a_flow_reaches_its_base():
    base = bases.ConditionalFactorial((2,), context=Labels(3), profile=True)
    flow = flowzoo.Flow(base, transforms.Dense(2, rngs=nnx.Rngs(0)), Labels(3))
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    labels = np.arange(300) % 3
    flow.update_statistics(x, labels)
    z = np.asarray(flow.transform.forward(x))
    means = [z[labels == k].mean(0) for k in range(3)]
    np.testing.assert_allclose(flow.base.mean[...], means, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="got real features, profile True"):
        bases.ConditionalFactorial((2,), context=Features(2), profile=True, rngs=nnx.Rngs(0))
