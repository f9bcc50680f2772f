"""Optimizers in multiplicative coordinates against formulas written out, in float64."""

import doctest
import functools

import chex
from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo import relative
from flowzoo.relative import (
    affine,
    from_perturbations,
    log_abs_det,
    orthogonalize,
    relative_adam,
    relative_gradient,
    relative_muon,
    scale_by_relative_adam,
    scale_by_relative_muon,
    to_perturbations,
)
from flowzoo.relative.spectrum import clip_spectrum
from flowzoo.transforms import Dense, Stack
from flowzoo_tests.relative.two_layers import (
    DIM,
    LAYERS,
    activation,
    assert_close,
    data_terms,
    fit,
    gradient,
    gradient_of_data_terms,
    loss,
    make_params,
    make_x,
    swapped,
    transform,
)

pytestmark = pytest.mark.usefixtures("x64")

FAMILY = {
    "muon": relative_muon,
    "clipped": functools.partial(relative_muon, rank=2),
    "adam": relative_adam,
}
SCALE_BY = {
    "muon": scale_by_relative_muon,
    "clipped": functools.partial(scale_by_relative_muon, rank=2),
    "adam": scale_by_relative_adam,
}


def update_of(optimizer, gradients, params):
    return optimizer.update(gradients, optimizer.init(params), params)[0]


def perturbations(params, grads, **kwargs):
    return update_of(to_perturbations(LAYERS, **{"layout": "out_in", **kwargs}), grads, params)


def by_autodiff(params, x):
    """The gradient in the factor `[[I + P, p], [0, 1]]` of each layer, at P = 0 and p = 0."""

    def perturbed(factors):
        moved = {}
        for name, layer in params.items():
            weight, bias = layer["weight"], layer.get("bias")
            factor = jnp.eye(DIM) + factors[name]["weight"]
            moved[name] = {"weight": factor @ weight}
            if bias is not None:
                moved[name]["bias"] = factor @ bias + factors[name]["bias"]
        return loss(moved, x)

    return jax.grad(perturbed)(jax.tree.map(jnp.zeros_like, params))


def fused_loss(params, x, rule, extra=lambda weight: 0.0):
    first, second = ((p["weight"], p.get("bias")) for p in params.values())
    y = affine(x, *first, rule)
    z = affine(activation(y), *second, rule)
    log_slope = jnp.log(0.3 + 0.7 * jax.nn.sigmoid(y))
    log_dets = log_abs_det(*first, rule) + log_abs_det(*second, rule)
    return jnp.mean(jnp.sum(0.5 * z**2 - log_slope, -1)) - log_dets


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("log10_condition", [1.0, 6.0])
def test_perturbations_are_the_gradient_in_the_factor(bias, log10_condition):
    params, x = make_params(0, bias=bias, log10_condition=log10_condition), make_x(0)
    expected = by_autodiff(params, x)
    rtol = 1e-14 * 10 ** (log10_condition + 2)
    assert_close(perturbations(params, gradient(params, x)), expected, rtol)
    added = perturbations(params, gradient_of_data_terms(params, x), add_log_det=1.0)
    assert_close(added, expected, rtol)
    # The fused rule has them without an inverse, at every condition number.
    assert_close(jax.grad(fused_loss)(params, x, "multiplicative"), added, 1e-12)


def test_the_fused_rule_gives_the_ordinary_gradient_in_the_input():
    params, x = make_params(1), make_x(1)
    ordinary, fused = (
        jax.grad(lambda x, rule=rule: fused_loss(params, x, rule))(x)
        for rule in ("ordinary", "multiplicative")
    )
    assert_close(fused, ordinary, 1e-13)


def test_the_fused_rule_takes_any_leading_axes_and_none():
    weight, bias = make_params(2)["0"].values()
    x = make_x(2, batch=6)

    def data_gradient(x):
        return jax.grad(lambda w, b: jnp.sum(affine(x, w, b, "multiplicative") ** 3), (0, 1))(
            weight, bias
        )

    expected = data_gradient(x)
    assert_close(data_gradient(x.reshape(2, 3, DIM)), expected)
    rows = [data_gradient(row) for row in x]
    assert_close(jax.tree.map(lambda *a: sum(a), *rows), expected)


def test_back_from_perturbations_is_the_relative_gradient():
    params, x = make_params(3), make_x(3)
    grads = gradient_of_data_terms(params, x)
    there = to_perturbations(LAYERS, layout="out_in", add_log_det=1.0)
    both = optax.chain(there, from_perturbations(LAYERS, layout="out_in"))
    assert_close(update_of(both, grads, params), transform(params, grads, add_log_det=1.0))


def muon_by_hand(params, history, momentum=0.9):
    """One update after a history of perturbations, from the singular values and vectors."""
    total = jax.tree.map(jnp.zeros_like, history[0])
    for perturbation in history:
        total = jax.tree.map(lambda m, e: momentum * m + e, total, perturbation)
    new = {}
    for name, layer in params.items():
        u, s, v = np.linalg.svd(total[name]["weight"])
        s = s / np.linalg.norm(s)
        for _ in range(5):
            s = 3.4445 * s - 4.775 * s**3 + 2.0315 * s**5
        ns, g = u * s @ v, total[name]["bias"]
        new[name] = {
            "weight": ns @ layer["weight"],
            "bias": ns @ layer["bias"] + g / np.linalg.norm(g),
        }
    return new


def test_relative_muon_by_hand_after_three_steps():
    params = make_params(4)
    history = [make_params(seed) for seed in (5, 6, 7)]
    optimizer = scale_by_relative_muon(LAYERS, layout="out_in")
    state = optimizer.init(params)
    for grads in history:
        update, state = optimizer.update(grads, state, params)
    expected = muon_by_hand(params, [perturbations(params, grads) for grads in history])
    assert_close(update, expected)
    # With the fused rule's gradients in place of ordinary ones.
    optimizer = scale_by_relative_muon(LAYERS, layout="out_in", gradients="multiplicative")
    state = optimizer.init(params)
    for grads in history:
        update, state = optimizer.update(perturbations(params, grads), state, params)
    assert_close(update, expected)


def test_relative_adam_by_hand():
    params, history = make_params(8), [make_params(9), make_params(10)]
    optimizer, adam = scale_by_relative_adam(LAYERS, layout="out_in"), optax.scale_by_adam()
    state, moments = optimizer.init(params), adam.init(params)
    # The second step tells b1 and b2.
    for grads in history:
        update, state = optimizer.update(grads, state, params)
        hat, moments = adam.update(perturbations(params, grads), moments)
    for name, layer in params.items():
        expected = {
            "weight": hat[name]["weight"] @ layer["weight"],
            "bias": hat[name]["weight"] @ layer["bias"] + hat[name]["bias"],
        }
        assert_close(update[name], expected)


@pytest.mark.parametrize("name", SCALE_BY)
def test_in_out_is_the_transposed(name):
    params, grads = make_params(8), make_params(9)
    update = update_of(SCALE_BY[name](LAYERS, layout="out_in", add_log_det=0.5), grads, params)
    other = SCALE_BY[name](LAYERS, layout="in_out", add_log_det=0.5)
    assert_close(update_of(other, swapped(grads), swapped(params)), swapped(update))


@pytest.mark.parametrize("name", SCALE_BY)
def test_stacked_layers_go_one_by_one(name):
    def stack(tree):
        return jax.tree.map(lambda *a: jnp.stack(a), *tree.values())

    params, grads = make_params(8), make_params(9)
    kwargs = dict(layout="out_in", add_log_det=1.0)
    update = update_of(SCALE_BY[name]("weight", **kwargs), stack(grads), stack(params))
    assert_close(update, stack(update_of(SCALE_BY[name](LAYERS, **kwargs), grads, params)))


def test_stacked_layers_under_the_fused_rule():
    rngs = nnx.Rngs(0)
    layers = [Dense(DIM, rngs=rngs) for _ in range(3)]
    for layer in layers:
        layer.weight[...] = layer.weight[...].astype(jnp.float64)
        layer.gradient_rule = "multiplicative"
    x = make_x(3)

    def nats(transform):
        z, log_det = transform.forward_and_log_det(x)
        return 0.5 * (z**2).sum(-1).mean() - log_det.mean()

    stacked = jax.grad(nats)(Stack(layers)).layers.weight[...]

    def in_a_row(layers):
        z, total = x, 0.0
        for layer in layers:
            z, log_det = layer.forward_and_log_det(z)
            total += log_det.mean()
        return 0.5 * (z**2).sum(-1).mean() - total

    for actual, layer in zip(stacked, jax.grad(in_a_row)(layers), strict=True):
        assert_close(actual, layer.weight[...])


def moved_by(params, matrix, shift):
    """The parameters that give the same outputs on `A x + a`."""
    weight = params["0"]["weight"] @ jnp.linalg.inv(matrix)
    first = {"weight": weight, "bias": params["0"]["bias"] - weight @ shift}
    return {**params, "0": first}


@pytest.mark.parametrize(
    ("optimizer", "equivariant"),
    [
        (relative_muon(0.03, LAYERS, layout="out_in"), True),
        (relative_muon(0.03, LAYERS, layout="out_in", rank=1), True),
        (relative_adam(0.03, LAYERS, layout="out_in"), True),
        # Linear in E W: plain descent on relative gradients is equivariant too.
        (
            optax.chain(
                relative.scale_by_relative_gradient(LAYERS, layout="out_in"), optax.sgd(0.01, 0.9)
            ),
            True,
        ),
        (relative_gradient(0.03, LAYERS, layout="out_in"), False),
        (optax.adam(0.03), False),
        (optax.contrib.muon(0.03), False),
    ],
    ids=[
        "relative_muon",
        "rank_1",
        "relative_adam",
        "relative",
        "adam_on_relative",
        "adam",
        "muon",
    ],
)
def test_data_in_other_coordinates_give_the_same_curve(optimizer, equivariant):
    rng = np.random.default_rng(0)
    matrix = jnp.array(rng.normal(size=(DIM, DIM)) * [1.0, 10.0, 1000.0])
    shift = jnp.array(rng.normal(size=DIM))
    x, params = make_x(5, batch=50), make_params(5)
    moved_x, moved = x @ matrix.T + shift, moved_by(params, matrix, shift)
    curve = []
    for data, start in ((x, params), (moved_x, moved)):
        trained = fit(start, lambda p, data=data: gradient(p, data), optimizer, steps=30)
        curve.append(float(loss(trained, data)))
    before = float(loss(params, x))
    # The same likelihood up to the constant log|det A|.
    curve[1] -= float(jnp.linalg.slogdet(matrix)[1])
    assert curve[0] < before - 0.1
    assert (abs(curve[0] - curve[1]) < 1e-6) == equivariant


@pytest.mark.parametrize("rate", [0.03, 0.3, 0.8])
def test_no_step_shrinks_the_smallest_singular_value_by_more_than_the_bound(rate):
    """10,000 steps on random gradients of wild scales, the worst that a loss can send."""
    optimizer = relative_muon(rate, "w", layout="out_in")
    params = {"w": jnp.eye(4)}

    def step(carry, key):
        params, state = carry
        scale, direction = jax.random.split(key)
        factor = 10.0 ** jax.random.uniform(scale, minval=-20, maxval=20)
        grads = {"w": factor * jax.random.normal(direction, (4, 4))}
        before = jnp.linalg.svd(params["w"], compute_uv=False)
        updates, state = optimizer.update(grads, state, params)
        w = optax.apply_updates(params, updates)["w"]
        after = jnp.linalg.svd(w, compute_uv=False)
        # Random steps of such a length soon end at the limits of floating point: start again.
        lost = (after[0] > 1e6) | (after[-1] < 1e-6)
        change = after[-1] / before[-1], after[0] / before[0]
        return ({"w": jnp.where(lost, jnp.eye(4), w)}, state), change

    keys = jax.random.split(jax.random.key(0), 10_000)
    _, (smallest, largest) = jax.lax.scan(step, (params, optimizer.init(params)), keys)
    assert smallest.min() >= 1 - 1.2024 * rate and largest.max() <= 1 + 1.2024 * rate
    assert smallest.min() < 1 - 0.8 * rate  # The bound is not idle.


@pytest.mark.parametrize("decay", [0.0, 0.1, 1.0])
def test_clipping_holds_the_norm_where_the_matrix_is_another_each_time(decay):
    """New singular vectors in each step, outliers among them: what no basis from before knows."""
    rng, basis, norms = np.random.default_rng(0), jnp.eye(32)[:, :4], []
    for _ in range(50):
        u, v = (np.linalg.qr(rng.normal(size=(32, 32)))[0] for _ in range(2))
        size = 10 ** rng.uniform(-6, 6) * np.exp(-decay * np.arange(32))
        clipped, basis = clip_spectrum(jnp.array(u * size @ v), basis)
        norms.append(np.linalg.norm(clipped, 2))
    assert max(norms) < 2 and min(norms) > 0.99


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1e150])
def test_newton_schulz_bounds_singular_values_at_every_scale(scale):
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2))
    matrix = scale * u * np.logspace(0, -2.5, 8) @ v
    singular = np.linalg.svd(orthogonalize(jnp.array(matrix)), compute_uv=False)
    assert singular.max() < 1.2024 and singular.min() > 0.65
    assert jnp.all(orthogonalize(jnp.zeros((2, 3, 3))) == 0)


def test_clipping_the_spectrum_brings_its_top_to_one_and_keeps_the_rest_in_proportion():
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2))
    size = np.array([1e4, 50, 20, 3, 1, 0.5, 0.1, 0])
    matrix, basis = jnp.array(u * size @ v), jnp.array(rng.normal(size=(8, 4)))
    for _ in range(40):  # Subspace iteration, on a matrix that stays.
        clipped, basis = clip_spectrum(matrix, basis)
    assert_close(clipped, u * np.minimum(size / 3, 1) @ v, 1e-7)
    # All of it: the orthogonal factor.
    full = jnp.array(u * (size + 1) @ v)
    expected = u * np.minimum((size + 1) / 1.0001, 1) @ v  # at least s_1 / 10⁴
    assert_close(clip_spectrum(full, jnp.eye(8))[0], expected, 1e-7)
    low = jnp.array(u * (size > 10) @ v)  # of rank 3, as after one batch of three events
    assert_close(clip_spectrum(low, basis)[0], low, 1e-7)
    assert jnp.all(clip_spectrum(jnp.zeros((2, 3, 3)), jnp.ones((2, 3, 2)))[0] == 0)
    assert_close(clip_spectrum(1e-30 * matrix, basis)[0], clipped)


def test_relative_muon_of_some_rank_follows_the_formula():
    params, grads = make_params(4), make_params(5)
    optimizer = scale_by_relative_muon(LAYERS, layout="out_in", rank=2, momentum=0.5)
    state = optimizer.init(params)
    for _ in range(60):
        update, state = optimizer.update(grads, state, params)
    for name, perturbation in perturbations(params, grads).items():
        u, s, v = np.linalg.svd(perturbation["weight"])
        g = perturbation["bias"]
        expected = u * np.minimum(s / s[1], 1) @ v
        weight, bias = params[name]["weight"], params[name]["bias"]
        assert_close(update[name]["weight"], expected @ weight, 1e-6)
        assert_close(update[name]["bias"], expected @ bias + g / np.linalg.norm(g), 1e-6)
    with pytest.raises(ValueError, match="rank is 0, expected at least 1"):
        scale_by_relative_muon(LAYERS, layout="out_in", rank=0)


@pytest.mark.parametrize("name", FAMILY)
def test_everything_else_is_trained_by_adam(name):
    params, grads = make_params(8), make_params(9)
    params["net"], grads["net"] = jnp.ones((2, 3)), jnp.full((2, 3), -5.0)
    update = update_of(FAMILY[name](0.1, "0/weight", layout="out_in"), grads, params)
    rest = update_of(optax.adam(0.1), grads, params)
    assert_close(update["net"], rest["net"])
    assert_close(update["1"], rest["1"])
    scaled = update_of(SCALE_BY[name]("0/weight", layout="out_in"), grads, params)
    assert_close(scaled["0"], jax.tree.map(lambda u: -u / 0.1, update["0"]))
    assert scaled["net"] is grads["net"] and scaled["1"] is not update["1"]


@pytest.mark.parametrize("name", FAMILY)
def test_inside_optax_wrappers(name):
    """Schedules, inject_hyperparams, masks, MultiSteps and extra arguments, under jit."""
    params, x = make_params(8), make_x(8)
    kwargs = dict(layout="out_in", add_log_det=1.0)
    schedule = optax.linear_schedule(0.05, 0.0, 10)

    def gradient_of(params):
        return gradient_of_data_terms(params, x)

    expected = fit(params, gradient_of, FAMILY[name](schedule, LAYERS, **kwargs))
    family = relative_adam if name == "adam" else relative_muon
    static = {"rank": 2} if name == "clipped" else {}
    injected = optax.inject_hyperparams(family, tuple(static))(
        learning_rate=schedule, weights=[LAYERS], **static, **kwargs
    )
    assert {"learning_rate", "add_log_det"} <= set(injected.init(params).hyperparams)
    assert_close(fit(params, gradient_of, injected), expected)

    masked = optax.masked(FAMILY[name](0.05, "0/weight", **kwargs), {"0": True, "1": False})
    update = update_of(masked, gradient_of(params), params)
    alone = update_of(FAMILY[name](0.05, "0/weight", **kwargs), gradient_of(params), params)
    assert_close(update["0"], alone["0"])
    assert_close(update["1"], gradient_of(params)["1"])

    twice = optax.MultiSteps(FAMILY[name](schedule, LAYERS, **kwargs), 2)
    assert_close(fit(params, gradient_of, twice, steps=8), expected, rtol=1e-5)

    optimizer = FAMILY[name](schedule, LAYERS, **kwargs)
    update = jax.jit(optimizer.update)(
        gradient_of(params), optimizer.init(params), params, value=0.0, unknown=params
    )[0]
    assert_close(update, update_of(optimizer, gradient_of(params), params))
    ones = optax.tree_map_params(optimizer, jnp.ones_like, optimizer.init(params))
    moment = "mu" if name == "adam" else "trace"
    assert jnp.all(optax.tree_utils.tree_get(ones, moment)["0"]["weight"] == 1)


@pytest.mark.parametrize("name", FAMILY)
def test_pmap_equals_one_device(name):
    params, x = make_params(8), make_x(8, batch=8 * 4)
    optimizer = FAMILY[name](0.05, LAYERS, layout="out_in", gradients="multiplicative")

    def step(params, state, x):
        grads = jax.grad(fused_loss)(params, x, "multiplicative")
        grads = jax.lax.pmean(grads, "devices")
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    mapped = jax.pmap(step, "devices", in_axes=(None, None, 0), out_axes=None)
    one = jax.vmap(step, (None, None, 0), out_axes=None, axis_name="devices")
    results = []
    for run, shape in ((mapped, (8, 4, DIM)), (one, (1, 32, DIM))):
        now, state = params, optimizer.init(params)
        for _ in range(5):
            now, state = run(now, state, x.reshape(shape))
        results.append(now)
    assert_close(results[0], results[1])
    assert float(data_terms(results[0], x)) != float(data_terms(params, x))


@pytest.mark.parametrize("name", SCALE_BY)
def test_each_update_keeps_its_gradients_dtype(name):
    params, grads = (
        jax.tree.map(lambda a: a.astype(jnp.bfloat16), make_params(seed)) for seed in (8, 9)
    )
    update = update_of(SCALE_BY[name](LAYERS, layout="out_in"), grads, params)
    chex.assert_trees_all_equal_dtypes(update, grads)
    assert all(jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves(update))


def test_nnx_modules_and_states():
    dense = Dense(DIM, rngs=nnx.Rngs(0))
    graph, state = nnx.split(dense)
    x = make_x(1).astype(jnp.float32)

    def nats(module):
        z, log_det = module.forward_and_log_det(x)
        return 0.5 * (z**2).sum(-1).mean() - log_det.mean()

    optimizer = relative_muon(0.1, "weight", layout="out_in")
    from_state = fit(state, jax.grad(lambda s: nats(nnx.merge(graph, s))), optimizer)
    from_module = fit(dense, jax.grad(nats), optimizer)
    assert_close(from_module.weight[...], from_state.weight[...], 1e-6)
    assert nats(from_module) < nats(dense) - 0.1


@pytest.mark.parametrize("name", SCALE_BY)
def test_errors_are_sentences(name):
    params = make_params(8)
    for weights, kwargs, sentence in (
        ([], {}, "no paths in `weights`"),
        (LAYERS, {"layout": "oi"}, "layout is 'oi'"),
        (LAYERS, {"gradients": "natural"}, "expected 'ordinary' or 'multiplicative'"),
        ("*/kernel", {}, r"'\*/kernel', which matches no parameter"),
    ):
        with pytest.raises(ValueError, match=sentence):
            SCALE_BY[name](weights, **{"layout": "out_in", **kwargs}).init(params)
    optimizer = SCALE_BY[name](LAYERS, layout="out_in")
    with pytest.raises(ValueError, match="got params=None"):
        optimizer.update(params, optimizer.init(params))


@pytest.mark.parametrize("module", ["muon", "adam", "perturbations"])
def test_examples_in_the_docstrings(module):
    results = doctest.testmod(__import__(f"flowzoo.relative.{module}", fromlist=["x"]))
    assert results.attempted and not results.failed
