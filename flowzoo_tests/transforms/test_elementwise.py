import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.smooth import sigmoid_and_softplus
from flowzoo.transforms.elementwise.nonlinearities import smooth_leaky_relu


def derivative(f, x, order: int):
    return f(x) if order == 0 else jax.jvp(lambda x: derivative(f, x, order - 1), (x,), (1.0,))[1]


def test_sigmoid_and_softplus_have_the_derivatives_of_the_formulas(x64):
    x = jnp.array([-700.0, -30.0, -2.0, -1e-9, 0.0, 1e-9, 0.5, 3.0, 30.0, 700.0])
    for order in range(4):
        ours, reference = (
            jax.jit(jax.vmap(lambda x: derivative(f, x, order)))(x)  # noqa: B023
            for f in (sigmoid_and_softplus, lambda x: (jax.nn.sigmoid(x), jax.nn.softplus(x)))
        )
        for a, b in zip(ours, reference, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_smooth_leaky_relu_at_extremes():
    x = jnp.array([-jnp.inf, -1e30, 1e30, jnp.inf, jnp.nan], jnp.float32)
    value, slope = smooth_leaky_relu(x, 0.01)
    np.testing.assert_allclose(value, 0.01 * x + 0.99 * jnp.maximum(x, 0), rtol=1e-6)
    np.testing.assert_allclose(slope, [0.01, 0.01, 1, 1, np.nan], rtol=1e-6)
    gradient = jax.vmap(jax.grad(lambda x: jnp.log(smooth_leaky_relu(x, 0.01)[1])))(x)
    np.testing.assert_array_equal(gradient[:4], 0)
