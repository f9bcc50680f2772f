"""Estimators find the sources of mixtures small enough for a test, and refuse what cannot be."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo import ica
from flowzoo.context import Features
from flowzoo.ica import linear, starts
from flowzoo.ica.linear import FAMILIES, _direction
from flowzoo.ica.unmixing import contrast

FEW = ((4, 400), (2, 600))


def small(layers=2, dim=2):
    return ica.generators.segments(
        1, dim=dim, num_segments=12, per_segment=200, layers=layers, nonlinearity="leaky_relu"
    )


@pytest.fixture(scope="module")
def found():
    data = small()
    return data, ica.fit(data.x, data.u, num_layers=2, stages=FEW, batch_size=300)


def test_finds_the_sources_of_a_nonlinear_mixture(found):
    data, unmixing = found
    sources = unmixing.sources(data.x)
    assert ica.mcc(data.sources, sources) > 0.98
    np.testing.assert_allclose(unmixing.mix(sources), data.x, rtol=1e-2, atol=1e-2)


def test_the_flow_is_one_like_any_other(found, tmp_path):
    data, unmixing = found
    flow = unmixing.flow
    score = nnx.jit(lambda flow, *row: flow.log_prob(*row))
    log_prob = score(flow, data.x, data.u)
    np.testing.assert_allclose(log_prob.mean(), unmixing.log_likelihoods[0], rtol=1e-4)
    assert np.all(np.diff(unmixing.log_likelihoods) <= 0)
    sample = nnx.jit(lambda flow, key, u: flow.sample(key, (2,), u))
    assert sample(flow, jax.random.key(0), data.u[:3]).shape == (2, 3, 2)
    flowzoo.save(flow, tmp_path / "flow.safetensors")
    again = flowzoo.load(tmp_path / "flow.safetensors")
    np.testing.assert_allclose(score(again, data.x, data.u), log_prob, rtol=1e-5)


def test_the_likeliest_start_is_kept(monkeypatch):
    """Whatever the sources are: which start is kept follows from likelihoods alone."""
    seen = []
    original = starts._likelihoods

    def spy(*arguments):
        seen.append(original(*arguments))
        return seen[-1]

    monkeypatch.setattr(starts, "_likelihoods", spy)
    data = small(layers=1)
    stages = ((4, 40), (2, 5))
    kept = ica.fit(data.x, data.u, num_layers=1, stages=stages, batch_size=200)
    assert [len(scores) for scores, _ in seen] == [4, 2]
    assert len(set(map(float, seen[0][0]))) == 4
    scores, fitted = seen[1]
    np.testing.assert_array_equal(kept.log_likelihoods, np.sort(scores)[::-1])
    stacked = fitted.params["transform"]["transforms"][1]["weight"][...]
    np.testing.assert_array_equal(
        kept.flow.transform.transforms[1].weight[...], stacked[np.argmax(scores)]
    )


def test_a_stage_that_throws_a_start_out_of_its_optimum_is_undone(monkeypatch):
    train, likelihoods, seen = starts._train, starts._likelihoods, []

    def spoil(params, *arguments, **options):
        params = train(params, *arguments, **options)
        factors = jnp.array([1.0, jnp.nan]) if seen else jnp.ones(2)
        return jax.tree.map(lambda a: a * factors.reshape(-1, *[1] * (a.ndim - 1)), params)

    def spy(*arguments):
        seen.append(likelihoods(*arguments))
        return seen[-1]

    monkeypatch.setattr(starts, "_train", spoil)
    monkeypatch.setattr(starts, "_likelihoods", spy)
    data = small()
    options = dict(num_layers=2, between="tanh_mix", batch_size=200, stages=((2, 40), (2, 40)))
    found = ica.fit(data.x, data.u, **options)
    (first, _), (second, _) = seen
    better, worse = np.sort(first)[::-1]
    assert not np.isfinite(second[1])
    kept = np.sort([max(better, second[0]), worse])[::-1]
    np.testing.assert_array_equal(found.log_likelihoods, kept)
    log_prob = found.flow.log_prob(data.x, data.u).mean()
    np.testing.assert_allclose(log_prob, found.log_likelihoods[0], rtol=1e-4)


def test_starts_take_several_maps_in_turn():
    data = small()
    records = [{"name": "slope_spline", "start": s, "num_bins": 4} for s in ("left", "right")]
    options = dict(num_layers=2, batch_size=200, stages=((3, 1),))
    builds = [
        lambda rngs, r=r: flowzoo.build(  # noqa: E731
            {"name": "unmixing", "num_layers": 2, "between": r},
            (2,),
            context=flowzoo.context.Labels(12),
            rngs=rngs,
        )
        for r in records
    ]
    _, _, params = starts._starts(builds, data.x, data.u, 3, jax.random.key(0))
    slopes = params["transform"]["transforms"][2]["slopes"][...]
    assert slopes.shape == (3, 2, 5)
    # The first record, the second, and the first again.
    steeper_left = np.all(slopes[..., 0] > slopes[..., -1], axis=1)
    np.testing.assert_array_equal(steeper_left, [True, False, True])
    records[1]["num_bins"] = 6
    with pytest.raises(ValueError, match="differ in more than their starting values"):
        ica.fit(data.x, data.u, between=records, **options)
    with pytest.raises(ValueError, match="maps that start from the data"):
        ica.fit(data.x, data.u, between={"name": "spline", "init": "quantiles"}, **options)


def test_real_features_can_be_u():
    """A scale that drifts with time, which is all that is observed of it."""
    rng = np.random.default_rng(0)
    time = np.linspace(-1, 1, 4000)
    scale = np.exp(np.stack([2 * time, np.cos(6 * time)], axis=1))
    sources = scale * rng.normal(size=(4000, 2))
    x = (sources @ np.array([[1.0, 0.5], [-0.7, 1.0]])).astype(np.float32)
    u = np.stack([time, np.cos(6 * time)], axis=1).astype(np.float32)
    unmixing = ica.fit(x, u, num_layers=1, stages=((2, 500),), batch_size=300)
    assert unmixing.flow.context == Features(2)
    assert ica.mcc(sources, unmixing.sources(x)) > 0.99


def test_c_ima_is_that_of_the_mixing_and_lowers_as_a_penalty():
    data = small()
    # Maps whose third derivatives compile fast.
    between = {"name": "learned_smooth_leaky_relu"}
    options = dict(num_layers=2, between=between, stages=((1, 150),), batch_size=200)
    free = ica.fit(data.x, data.u, **options)
    rows = data.x[:50]
    jacobian = jax.jit(jax.vmap(jax.jacfwd(free.flow.transform.inverse)))
    mixing = jacobian(jnp.asarray(free.sources(rows)))
    np.testing.assert_allclose(free.c_ima(rows), ica.c_ima(mixing).mean(), rtol=1e-2)
    bound = ica.fit(data.x, data.u, c_ima_weight=30.0, **options)
    assert bound.c_ima(rows) < 0.5 * free.c_ima(rows)
    assert bound.log_likelihoods[0] < free.log_likelihoods[0]


def test_c_ima_has_the_gradient_of_finite_differences(x64):
    """In multiplicative coordinates, where second derivatives have to be the ordinary ones."""
    flow = flowzoo.build(
        {"name": "unmixing", "num_layers": 2, "between": {"name": "tanh_mix"}, "whiten": False},
        (2,),
        rngs=nnx.Rngs(0),
    )
    x = jax.random.normal(jax.random.key(1), (5, 2))

    def total(transform):
        return contrast(transform, x).mean()

    gradient = jax.grad(total)(flow.transform)
    for layer in (0, 2):
        weight = flow.transform.transforms[layer].weight
        start, numeric = weight[...], np.zeros((2, 2))
        for i in np.ndindex(2, 2):
            values = []
            for sign in (1, -1):
                weight[...] = start.at[i].add(sign * 1e-5)
                values.append(float(total(flow.transform)))
            numeric[i] = (values[0] - values[1]) / 2e-5
        weight[...] = start
        found = gradient.transforms[layer].weight[...]
        np.testing.assert_allclose(found, numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("u", [None, np.zeros(2400, int), np.zeros((2400, 2))])
def test_without_a_varying_u_it_warns(u):
    with pytest.warns(UserWarning, match="Nothing identifies the sources of a nonlinear mixing"):
        ica.fit(small().x, u, num_layers=1, stages=((1, 1),))


U = np.arange(30) % 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(u=U[:-1]), r"30 rows of mixtures and u of shape \(29,\), expected one u for each"),
        (dict(u=np.float32(1.0)), r"u of shape \(\), expected one u for each row"),
        (dict(u=U - 1), "the label -1 in u, expected labels from 0"),
        (dict(u=2 * U), "class 1 of 5 has no rows"),
        (dict(u=U.astype(str)), "expected integer class labels"),
        (dict(u=U.astype(float)), r"u of shape \(30,\) and dtype float64, expected integer"),
        (dict(u=np.full((30, 2), np.nan)), "u holds nan in row 0"),
        (dict(x=np.ones((3, 5)), u=U[:3]), "3 rows of 5 mixtures, expected at least as many rows"),
        (dict(x=np.ones((30, 2), int)), "dtype int64, expected floating-point"),
        (dict(x=np.full((30, 2), np.inf)), "x holds inf in row 0"),
        (dict(stages=((2, 10), (4, 10))), "expected pairs of a number of starts"),
        (dict(stages=()), "expected pairs of a number of starts"),
        (dict(batch_size=0), "batch_size 0, expected at least 1"),
        (dict(momentum=1.0), r"momentum 1.0, expected a number in \[0, 1\)"),
        (dict(c_ima_weight=-1.0), "c_ima_weight -1.0, expected at least 0"),
        (dict(between="identity"), "Unknown map for between 'identity'"),
        (dict(family="cauchy"), "The family is 'cauchy'"),
        (dict(num_layers=0), "num_layers 0, expected at least 1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    x = np.random.default_rng(0).normal(size=(30, 2))
    arguments = dict(x=x, u=U, stages=((1, 1),)) | arguments
    with pytest.raises(ValueError, match=message):
        ica.fit(arguments.pop("x"), arguments.pop("u"), **arguments)


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_ica_finds_the_matrix(family):
    data = ica.generators.linear(0, dim=6, rows=8000)
    unmixing = ica.fit_linear(data.x, family=family)
    weight = np.asarray(unmixing.flow.transform.weight[...])
    assert ica.amari(weight, data.jacobian) < 0.02
    assert ica.mcc(data.sources, unmixing.sources(data.x)) > 0.999
    log_prob = unmixing.flow.log_prob(data.x).mean()
    np.testing.assert_allclose(log_prob, unmixing.log_likelihoods[0], rtol=1e-4)


def test_linear_ica_ends_where_the_relative_gradient_is_zero():
    data = ica.generators.linear(1, dim=4, rows=3000)
    flow = ica.fit_linear(data.x, tolerance=1e-4).flow
    y = np.asarray(flow.transform.forward(data.x), np.float64)
    score = np.pi / 2 * np.tanh(np.pi / 2 * y)
    np.testing.assert_allclose(score.T @ y / len(y), np.eye(4), atol=3e-4)


def test_the_passes_in_batches_end_near_the_maximum(monkeypatch):
    """There a single step that sees all rows is enough, which it is not from the start."""
    monkeypatch.setattr(linear, "BATCH", 250)
    data = ica.generators.linear(1, dim=8, rows=3000, family="sparse")
    once = ica.fit_linear(data.x, tolerance=1e-3, max_steps=1)
    end = ica.fit_linear(data.x, tolerance=1e-5)
    seen, maximize = {}, linear._maximize

    def one_step(white, weight, family, tolerance, max_steps):
        seen.update(start=weight, most=max_steps)
        return maximize(white, weight, family, tolerance, 1)

    monkeypatch.setattr(linear, "_maximize", one_step)
    after = ica.fit_linear(data.x)
    assert not np.array_equal(seen["start"], np.eye(8)) and 170 < seen["most"] < 199
    gaps = [end.log_likelihoods[0] - one.log_likelihoods[0] for one in (once, after)]
    assert -1e-4 < gaps[1] < 0.02 < gaps[0]


def test_passes_in_batches_that_diverge_are_left_out(monkeypatch):
    monkeypatch.setattr(linear, "BATCH", 250)
    data, rates = ica.generators.linear(0, dim=4, rows=2000), []

    def diverge(batches, weight, momentum, rate, family):
        assert np.array_equal(weight, np.eye(4)) and not np.any(momentum)
        rates.append(rate)
        return (np.nan * weight, np.nan * momentum), np.nan

    monkeypatch.setattr(linear, "_pass", diverge)
    weight = ica.fit_linear(data.x).flow.transform.weight[...]
    assert rates == [linear.RATE / 2**i for i in range(len(rates))] and len(rates) > 1
    assert ica.amari(weight, data.jacobian) < 0.03


def test_the_rate_falls_where_the_sources_stay_normal_and_rises_where_they_leave(monkeypatch):
    distances = iter([0.0, 0.01, 0.1, 0.101, 0.2, 0.2])
    rates = []

    def seen(batches, weight, momentum, rate, family):
        rates.append(rate / linear.RATE)
        return (weight, momentum), next(distances)

    monkeypatch.setattr(linear, "_pass", seen)
    monkeypatch.setattr(linear, "BATCH", 10)
    _, passes = linear._approach(np.ones((40, 2)), np.eye(2), "logistic", 99)
    assert passes == 6 and rates == [1, 0.5, 0.5, 1, 0.5, 1]


def test_a_pass_tells_how_far_the_sources_are_from_normal():
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        for least, draw, most in ((-0.02, rng.normal, 0.02), (0.1, rng.laplace, 0.5)):
            batches = jnp.asarray(0.7 * draw(size=(linear.BATCH, 8, 2)), jnp.float32)
            _, distance = linear._pass(batches, jnp.eye(2), jnp.zeros((2, 2)), 0.0, family)
            assert least < distance < most


def test_later_steps_are_made_from_earlier_ones():
    """With the true Hessian's action in its memory, the step is Newton's in those directions."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    hessian = root @ root.T + np.eye(4)
    memory = []
    for direction in np.linalg.eigh(hessian)[1].T:
        moved, change = direction.reshape(2, 2), (hessian @ direction).reshape(2, 2)
        memory.append((moved, change, np.vdot(moved, change)))
    gradient = rng.normal(size=(2, 2))
    step = linear._quasi_newton(gradient, np.full((2, 2), 2.0), memory)
    np.testing.assert_allclose(hessian @ np.ravel(step), gradient.ravel(), rtol=1e-4, atol=1e-5)


def test_direction_solves_the_pairs():
    rng = np.random.default_rng(0)
    gradient, h = 0.1 * rng.normal(size=(4, 4)), 2 + rng.random((4, 4))
    step = np.asarray(_direction(gradient, h, 0.01))
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose((h * step + step.T)[off], gradient[off], rtol=1e-4)
    # Downhill also where a block is not positive definite.
    step = np.asarray(_direction(gradient, 0.1 * h, 0.01))
    assert np.sum(step * gradient) > 0
    # The sum and the difference of two sources turn by a bounded angle.
    step = np.asarray(_direction(np.array([[0, 0.5], [-0.4, 0]]), np.full((2, 2), 0.9), 0.01))
    assert np.abs(step).max() == pytest.approx(0.5) and step[0, 1] * step[1, 0] < 0


def test_linear_ica_refuses():
    x = np.random.default_rng(0).normal(size=(30, 2))
    for arguments, message in (
        (dict(x=x.T), "2 rows of 30 mixtures"),
        (dict(x=x, family="laplace"), "The family is 'laplace', expected one of"),
        (dict(x=x, tolerance=0.0), "tolerance 0.0 and max_steps 200"),
        (dict(x=x[:, 0]), r"x of shape \(30,\)"),
        (dict(x=x[:, [0, 0]]), "do not vary in some direction"),
    ):
        with pytest.raises(ValueError, match=message):
            ica.fit_linear(**arguments)


def test_couplings_between_the_layers_reach_every_coordinate(x64):
    record = {"name": "affine_couplings", "hidden_sizes": (4,)}
    model = {"name": "unmixing", "num_layers": 2, "between": record, "whiten": False}
    pair = flowzoo.build(model, (4,), rngs=nnx.Rngs(0)).transform.transforms[1]
    noise = np.random.default_rng(0)
    params = nnx.state(pair, nnx.Param)
    nnx.update(pair, jax.tree.map(lambda p: noise.normal(size=p.shape), params))
    x = jnp.asarray(noise.normal(size=4))
    jacobian = jax.jacfwd(pair.forward)(x)
    np.testing.assert_allclose(np.linalg.slogdet(jacobian)[1], pair.forward_and_log_det(x)[1])
    # What the first keeps, the second changes.
    assert not np.any(np.all(np.isclose(jacobian, np.eye(4)), axis=1))
