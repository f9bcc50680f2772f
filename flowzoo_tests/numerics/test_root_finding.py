"""Inverting increasing functions: it ends, within the stated tolerance, and differentiates."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowzoo.numerics.root_finding import BISECTION_STEPS, NEWTON_STEPS, invert_increasing
from flowzoo.transforms import LearnedTanhMix, SmoothLeakyReLU, TanhMix
from flowzoo.transforms.elementwise.nonlinearities import smooth_leaky_relu, tanh_mix

SIZE = 40

# The numbers of the layer are fixed when it is traced, hence one program for each.
LAYERS = {
    "smooth_leaky_relu": SmoothLeakyReLU(()),
    "smooth_leaky_relu_nearly_flat": SmoothLeakyReLU((), alpha=1e-3),
    "smooth_leaky_relu_centered": SmoothLeakyReLU((), alpha=0.1, center=1.5),
    "tanh_mix": TanhMix(()),
    "learned_tanh_mix": LearnedTanhMix(()),
    "tanh_mix_steep_and_flat": TanhMix((), alpha=30.0, beta=1e-3),
}


@jax.jit
def inverse_and_its_value(layer, y):
    x = layer.inverse(y)
    return x, layer.forward(x)


def numbers(dtype):
    """Of either sign and every magnitude up to 1e6."""
    width = 8 * np.dtype(dtype).itemsize
    wide = st.floats(-1e6, 1e6, width=width)
    small = st.floats(-10, 10, width=width)
    return hnp.arrays(dtype, SIZE, elements=st.one_of(wide, small), fill=st.nothing())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_reaches_its_tolerance(name, dtype, x64):
    @settings(max_examples=30, deadline=None)
    @given(numbers(dtype))
    def check(y):
        x, value = inverse_and_its_value(LAYERS[name], y)
        assert x.dtype == dtype
        tolerance = 4 * np.finfo(dtype).eps * np.maximum(1, np.abs(y))
        np.testing.assert_array_less(np.abs(value - y), tolerance * (1 + 1e-6))

    check()


@pytest.mark.parametrize("name", LAYERS)
def test_finds_the_number_it_started_from(name, x64):
    x = np.concatenate([-np.logspace(6, -6, 60), [0.0], np.logspace(-6, 6, 60)])
    back = inverse_and_its_value(LAYERS[name], LAYERS[name].forward(x))[0]
    np.testing.assert_allclose(back, x, rtol=1e-11, atol=1e-11)


def counted(f, y, lower, upper):
    """The solution, and how many rounds of evaluations it took."""
    rounds = []

    def count():
        rounds.append(1)

    def counting(x):
        jax.debug.callback(count)
        return f(x)

    x = jax.jit(lambda y, a, b: invert_increasing(counting, y, a, b))(y, lower, upper)
    jax.effects_barrier()
    return np.asarray(x), len(rounds)


def cubic(x):
    return x**3 + 1e-12 * x, 3 * x**2 + 1e-12


def step(x):
    """Rises by 2 within 1e-9 of x = 3: narrower than the spacing of float32 there."""
    u = 1e9 * (x - 3)
    return jnp.tanh(u) + 1e-6 * x, 1e9 * (1 - jnp.tanh(u) ** 2) + 1e-6


def stairs(x):
    """Slope 1e-6 on its treads."""
    return x - (1 - 1e-6) * jnp.sin(x), 1 - (1 - 1e-6) * jnp.cos(x)


def exponential(x):
    return jnp.sinh(x), jnp.cosh(x)


@pytest.mark.parametrize("f", [cubic, step, stairs, exponential])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nasty_functions_end_at_the_tolerance_or_the_last_digit(f, dtype, x64):
    y = np.array([-1.5, -0.9, -1e-3, 0.0, 1e-6, 0.3, 0.999, 1.0, 40.0], dtype)
    if f is step:
        y = y[:-1]
    bound = np.full_like(y, 80 if dtype == np.float32 else 700)
    if f is step:
        bound = np.full_like(y, 1e7)
    x, rounds = counted(f, y, -bound, bound)
    # One evaluation more polishes the result.
    assert rounds <= NEWTON_STEPS + BISECTION_STEPS + 1
    assert x.dtype == dtype and np.all(np.abs(x) <= bound)

    close = np.abs(f(x)[0] - y) <= 4 * np.finfo(dtype).eps * np.maximum(1, np.abs(y))
    neighbours = np.nextafter(x, dtype(-np.inf)), np.nextafter(x, dtype(np.inf))
    last_digit = (f(neighbours[0])[0] <= y) & (y <= f(neighbours[1])[0])
    assert np.all(close | last_digit)
    if f is step and dtype == np.float32:
        assert not np.all(close)


def test_easy_functions_take_newtons_few_steps(x64):
    y = np.linspace(-1000, 1000, 2001)
    layer = LAYERS["smooth_leaky_relu"]
    assert counted(layer.value_and_slope, y, *layer.bracket(y))[1] <= NEWTON_STEPS


@pytest.mark.parametrize("name", LAYERS)
def test_ends_on_nan_and_infinity_and_leaves_other_elements_alone(name):
    y = np.array([np.nan, np.inf, -np.inf, 1.5, -2.0], np.float32)
    x, _ = inverse_and_its_value(LAYERS[name], y)
    clean, _ = inverse_and_its_value(LAYERS[name], np.where(np.isfinite(y), y, 0))
    assert np.isnan(x[0]) and not np.any(np.isfinite(x[1:3]))
    np.testing.assert_array_equal(x[3:], clean[3:])


@pytest.mark.parametrize(
    ("f", "parameters"),
    [(smooth_leaky_relu, (0.2,)), (tanh_mix, (1.5, 0.3))],
)
def test_implicit_derivatives(f, parameters, x64):
    def inverse(y, *parameters):
        x = invert_increasing(lambda x: f(x, *parameters), y, y - 100, y + 100)
        return jnp.sin(x)  # So that the derivative depends on where it is taken.

    with_derivatives = jax.jit(
        jax.vmap(
            jax.value_and_grad(inverse, argnums=range(1 + len(parameters))),
            in_axes=(0,) + (None,) * len(parameters),
        )
    )
    arguments = (np.linspace(-6, 6, 9), *parameters)
    gradients = with_derivatives(*arguments)[1]
    h = 1e-5
    for i, gradient in enumerate(gradients):
        ahead, behind = (
            with_derivatives(*arguments[:i], arguments[i] + s, *arguments[i + 1 :])[0]
            for s in (h, -h)
        )
        np.testing.assert_allclose(gradient, (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-8)


def test_jit_and_vmap_of_one_element_agree_with_the_batch():
    y = np.linspace(-30, 30, 12, dtype=np.float32).reshape(3, 4)
    layer = LAYERS["smooth_leaky_relu"]
    expected = inverse_and_its_value(layer, y)[0]
    mapped = jax.jit(jax.vmap(jax.vmap(layer.inverse)))(y)
    np.testing.assert_allclose(mapped, expected, rtol=1e-6, atol=1e-6)
