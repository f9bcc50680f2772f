"""What optimizers in multiplicative coordinates have in common, in float64."""

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
    relative_adam,
    relative_gradient,
    relative_muon,
    scale_by_relative_adam,
    scale_by_relative_muon,
)
from flowzoo.transforms import Dense
from flowzoo_tests.relative.two_layers import (
    DIM,
    LAYERS,
    assert_close,
    data_terms,
    fit,
    fused_loss,
    gradient,
    gradient_of_data_terms,
    loss,
    make_params,
    make_x,
    perturbations,
    swapped,
    update_of,
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
