"""Relative Muon and what it does to singular values, against formulas written out, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo.relative import orthogonalize, relative_muon, scale_by_relative_muon
from flowzoo.relative.spectrum import clip_spectrum
from flowzoo_tests.relative.two_layers import LAYERS, assert_close, make_params, perturbations

pytestmark = pytest.mark.usefixtures("x64")


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


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1e150])
def test_newton_schulz_bounds_singular_values_at_every_scale(scale):
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2))
    matrix = scale * u * np.logspace(0, -2.5, 8) @ v
    singular = np.linalg.svd(orthogonalize(jnp.array(matrix)), compute_uv=False)
    assert singular.max() < 1.2024 and singular.min() > 0.65
    assert jnp.all(orthogonalize(jnp.zeros((2, 3, 3))) == 0)


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
