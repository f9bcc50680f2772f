"""What is kept, when a run stops, how a flow is scored: against scripts and hand computations."""

import math

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import flowzoo
from flowzoo.context import Labels
from flowzoo.data.dataset import Dataset, Split
from flowzoo.training import loop
from flowzoo.training.evaluation import evaluation_key
from flowzoo.training.evaluation import test_results as score
from flowzoo.training.loop import NonFinite, Run, load_data, train
from flowzoo.training.state import merge, split
from flowzoo.training.step import Batch, make_loss
from flowzoo.training.workdir import METRICS
from flowzoo.transforms import Affine, BatchNorm, Chain, Logit
from flowzoo_tests.perturb import perturbed
from flowzoo_tests.training.small import small_config

# It rises, falls, stalls, rises to less than before, and rises to more.
RISES_AND_FALLS = [-9.0, -5.0, -7.0, -7.0, -6.0, -6.5, -4.0]


def script(monkeypatch, values):
    """Lets the validation likelihood be what is written here; returns the flows that were asked."""
    asked, validation = [], iter(values)

    def make_log_probs(mesh):
        def log_probs(flow, x, labels):
            # A copy: the training state is donated to the next step.
            asked.append(jax.tree.map(np.array, flow))
            # The training part is asked first, each time.
            value = next(validation) if len(asked) % 2 == 0 else 0.0
            return np.full(3, value)

        return log_probs

    monkeypatch.setattr(loop, "make_log_probs", make_log_probs)
    return asked


def marked(state, epoch):
    """A state at the end of an epoch whose parameters are that epoch's number."""
    params = jax.tree.map(lambda a: jnp.full_like(a, epoch), state.variables.params)
    variables = state.variables._replace(params=params)
    return state._replace(step=jnp.int32(25 * epoch), variables=variables)


def first(params) -> float:
    return float(jax.tree.leaves(params)[0].ravel()[0])


def test_the_best_of_all_epochs_is_kept(monkeypatch):
    script(monkeypatch, RISES_AND_FALLS)
    run = Run(small_config(), load_data(small_config()))
    state, kept = run.start(), []
    for epoch in range(1, 8):
        state, record = run.evaluate(marked(state, epoch))
        assert record["validation_nats"] == RISES_AND_FALLS[epoch - 1]
        assert record["best_validation_nats"] == max(RISES_AND_FALLS[:epoch])
        kept.append((int(state.best.epoch), first(state.best.params)))
    assert kept == [(1, 1), (2, 2), (2, 2), (2, 2), (2, 2), (2, 2), (7, 7)]


@pytest.mark.parametrize(
    ("patience", "epochs", "best"), [(1, 3, 2), (2, 4, 2), (4, 6, 2), (5, 7, 7), (30, 7, 7)]
)
def test_a_run_stops_after_so_many_epochs_without_a_better_one(
    monkeypatch, tmp_path, patience, epochs, best
):
    asked = script(monkeypatch, RISES_AND_FALLS)
    config = small_config(num_epochs=7, patience=patience, dataset=dict(limit=64))
    trained = train(config, load_data(config), tmp_path)
    assert (trained.epochs, trained.best_epoch) == (epochs, best)
    assert len((tmp_path / METRICS).read_text().splitlines()) == epochs
    # What comes back is what was validated then.
    expected = nnx.state(asked[2 * best - 1], nnx.Param)
    chex.assert_trees_all_equal(nnx.state(trained.flow, nnx.Param), expected)


def test_the_averaged_parameters_are_validated_and_kept(monkeypatch):
    asked = script(monkeypatch, [-1.0])
    config = small_config(parameter_average=0.9)
    run = Run(config, load_data(config))
    state = marked(run.start(), 1)
    state = state._replace(average=jax.tree.map(lambda a: a + 5, state.variables.params))
    state, _ = run.evaluate(state)
    assert [first(nnx.state(flow, nnx.Param)) for flow in asked] == [6, 6]
    assert first(state.best.params) == 6 and first(state.variables.params) == 1


def test_a_likelihood_that_is_not_finite_is_not_kept(monkeypatch):
    script(monkeypatch, [-3.0, math.nan])
    run = Run(small_config(), load_data(small_config()))
    state, _ = run.evaluate(marked(run.start(), 1))
    with pytest.raises(NonFinite, match="is nan after epoch 2"):
        run.evaluate(marked(state, 2))


def test_statistics_are_those_of_the_whole_training_split():
    model = dict(name="real_nvp", num_layers=2, hidden_sizes=(8,), batch_norm=True)
    config = small_config(model=model)
    run = Run(config, load_data(config))
    state = run.start()
    before = jax.device_get(state.variables.statistics)
    state, _ = run.evaluate(state)
    flow = merge(run.graph, state.variables)
    coupling, norm = flow.transform.transforms[:2]
    assert isinstance(norm, BatchNorm)
    x = np.asarray(coupling.forward(run.evaluation_data("train")[0]), np.float64)
    np.testing.assert_allclose(norm.mean[...], x.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(norm.variance[...], x.var(0), rtol=1e-3)
    chex.assert_trees_all_equal(state.best.statistics, state.variables.statistics)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(before, jax.device_get(state.best.statistics))


@pytest.mark.parametrize("name", ["real_nvp", "maf"])
def test_the_gradient_goes_through_the_statistics_of_the_batch(name, x64):
    """Against the slope of the loss itself, along a random direction."""
    model = dict(name=name, num_layers=2, hidden_sizes=(6,), batch_norm=True)
    flow = perturbed(flowzoo.build(model, (4,), rngs=nnx.Rngs(0)))
    flow = jax.tree.map(lambda a: a.astype(float) if a.dtype == jnp.float32 else a, flow)
    variables = split(flow)[1]
    loss = make_loss(flow, "ordinary")
    batch = Batch(jax.random.normal(jax.random.key(0), (20, 4)) + 1, None)
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), variables.params)

    @jax.jit
    def along(t):
        moved = jax.tree.map(lambda a, d: a + t * d, variables.params, direction)
        return loss(moved, variables, batch)[0]

    gradient = jax.jit(jax.grad(lambda p: loss(p, variables, batch)[0]))(variables.params)
    slope = sum(
        np.sum(g * d) for g, d in zip(*map(jax.tree.leaves, (gradient, direction)), strict=True)
    )
    np.testing.assert_allclose(slope, (along(1e-6) - along(-1e-6)) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("base", ["standard_normal", "hyperbolic_secant", "logistic"])
def test_the_relative_rule_under_each_base_is_the_ordinary_gradient_times_w_t_w(base, x64):
    model = dict(name="fully_connected", base=base, use_bias=False)
    flow = perturbed(flowzoo.build(model, (4,), rngs=nnx.Rngs(0)), scale=0.2)
    flow = jax.tree.map(lambda a: a.astype(float), flow)
    variables = split(flow)[1]
    batch = Batch(jax.random.normal(jax.random.key(0), (20, 4)), None)
    ordinary, relative = (
        jax.grad(lambda p, rule=rule: make_loss(flow, rule)(p, variables, batch)[0])(
            variables.params
        )
        for rule in ("ordinary", "relative")
    )
    leaves = zip(*map(jax.tree.leaves, (variables.params, ordinary, relative)), strict=True)
    for weight, gradient, found in leaves:
        np.testing.assert_allclose(found, gradient @ weight.T @ weight, rtol=1e-9, atol=1e-12)


def tiny_images(num_classes=None):
    """Levels 0 … 7 of two pixels, and their preprocessing as for images."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 8, (40, 2)).astype(np.uint8)
    labels = None if num_classes is None else (np.arange(40) % num_classes).astype(np.int32)
    split = Split(x, labels)
    return Dataset(
        name="tiny",
        train=split,
        validation=split,
        test=split,
        preprocessing=Chain([Affine((2,), scale=8.0), Logit((2,), alpha=0.05)]),
        dequantize=True,
        num_classes=num_classes,
        image_shape=(1, 2, 1),
        bits_per_dim=True,
    )


def in_model_space(dataset):
    return np.asarray(dataset.model_space("test", evaluation_key("test")), np.float64)


def test_bits_per_dim_by_hand():
    dataset = tiny_images()
    flow = flowzoo.build("gaussian", (2,), rngs=nnx.Rngs(0))
    results = score(flow, dataset)
    z = in_model_space(dataset)
    log_p = scipy.stats.norm.logpdf(z).sum(1)
    # z = logit(α + (1 − 2α) y), y in [0, 1]; of levels, p(x) = p(y)/8 in each dimension.
    s = scipy.special.expit(z)
    log_det = np.log(0.9 / (s * (1 - s))).sum(1)
    nats = log_p + log_det - 2 * math.log(8)
    assert results["log_likelihood_nats"] == pytest.approx(log_p.mean(), rel=1e-5)
    assert results["bits_per_dim"] == pytest.approx(-nats.mean() / (2 * math.log(2)), rel=1e-5)
    two_standard_errors = 2 * log_p.std(ddof=1) / math.sqrt(40)
    assert results["two_standard_errors"] == pytest.approx(two_standard_errors, rel=1e-5)


def test_a_conditional_flow_is_scored_with_its_labels_summed_out_by_hand():
    dataset = tiny_images(num_classes=3)
    flow = flowzoo.build("gaussian", (2,), context=Labels(3), rngs=nnx.Rngs(0))
    flow.initialize(in_model_space(dataset).astype(np.float32), dataset.test.labels)
    z, each = in_model_space(dataset), []
    for label in range(3):
        part = z[dataset.test.labels == label]
        normal = scipy.stats.multivariate_normal(part.mean(0), np.cov(part.T, bias=True))
        each.append(normal.logpdf(z))
    expected = scipy.special.logsumexp(each, axis=0).mean() - math.log(3)
    assert score(flow, dataset)["log_likelihood_nats"] == pytest.approx(expected, rel=1e-4)
