"""The relative gradient of convolution kernels against dense matrices, in float64."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flowzoo.numerics import torus
from flowzoo.relative.kernels import relative_kernel_gradient
from flowzoo.relative.optax_kernels import scale_by_relative_kernels
from flowzoo.transforms import PeriodicConv
from flowzoo.transforms.convolution.periodic import convolve

SHAPES = [((4, 5, 2), 3), ((6, 4, 1), (2, 3)), ((3, 4, 2), (3, 4)), ((8, 7, 2), 3), ((3, 3, 2), 1)]


def layer_and_data(shape, taps, seed=0):
    layer = PeriodicConv(shape, kernel_size=taps, rngs=nnx.Rngs(seed))
    rng = np.random.default_rng(seed)
    layer.kernel[...] = layer.kernel[...] + 0.3 * rng.normal(size=layer.kernel.shape)
    layer.bias[...] = jnp.asarray(rng.normal(size=layer.bias.shape))
    return jax.tree.map(lambda a: a.astype(jnp.float64), layer), rng.normal(size=(6, *shape))


def loss(layer, x):
    z, log_det = layer.forward_and_log_det(x)
    # No standard normal, under which a mistake that is symmetric in x and z would not show.
    return (jnp.cosh(0.5 * z).sum((1, 2, 3)) - log_det).mean()


@functools.partial(jax.jit, static_argnames="rule")
def gradient(layer, x, rule):
    layer = nnx.clone(layer)
    layer.gradient_rule = rule
    g = nnx.grad(loss)(layer, x)
    return g.kernel[...], g.bias[...]


def dense_loss(kernel, bias, x):
    """The same loss by `slogdet` of the dense Jacobian."""
    shape = x.shape[1:]
    unit = jnp.eye(np.prod(shape)).reshape(-1, *shape)
    jacobian = convolve(unit, kernel).reshape(len(unit), -1)
    z = convolve(x, kernel) + bias
    return jnp.cosh(0.5 * z).sum((1, 2, 3)).mean() - jnp.linalg.slogdet(jacobian)[1]


dense_gradient = jax.jit(jax.grad(dense_loss, argnums=(0, 1)))


def composed(first, second, size, *, adjoint):
    """`first ⋆ second` (or its adjoint) by sums over all pairs of taps: `[H, W, C, C]`."""
    out = np.zeros((*size, *first.shape[2:]))
    for i, j in np.ndindex(first.shape[:2]):
        for k, m in np.ndindex(second.shape[:2]):
            q = i - first.shape[0] // 2, j - first.shape[1] // 2
            r = k - second.shape[0] // 2, m - second.shape[1] // 2
            sign, matrix = (-1, second[k, m].T) if adjoint else (1, second[k, m])
            place = (q[0] + sign * r[0]) % size[0], (q[1] + sign * r[1]) % size[1]
            out[place] += first[i, j] @ matrix
    return out


def whole(kernel, size):
    """A kernel on all taps of the torus, offset zero first, in the order that `composed` has."""
    taps = kernel.shape[:2]
    out = np.zeros((*size, *kernel.shape[2:]))
    for i, j in np.ndindex(taps):
        out[(i - taps[0] // 2) % size[0], (j - taps[1] // 2) % size[1]] += kernel[i, j]
    return out


def centered(kernel):
    """From offset zero first to offset zero in the middle."""
    return np.roll(kernel, [n // 2 for n in kernel.shape[:2]], (0, 1))


def restricted(kernel, taps):
    """The taps around offset zero of a kernel whose offset zero is first."""
    rows, columns = (np.arange(k) - k // 2 for k in taps)
    return kernel[rows][:, columns]


@pytest.mark.parametrize(("shape", "taps"), SHAPES)
def test_the_ordinary_rule_is_autodiff_of_the_dense_determinant(shape, taps, x64):
    layer, x = layer_and_data(shape, taps)
    expected = dense_gradient(layer.kernel[...], layer.bias[...], x)
    found = gradient(layer, x, "ordinary")
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("shape", "taps"), SHAPES)
def test_relative_is_the_gradient_times_the_metric(shape, taps, x64):
    layer, x = layer_and_data(shape, taps)
    size, kernel, bias = shape[:2], np.asarray(layer.kernel[...]), np.asarray(layer.bias[...])
    g, g_bias = map(np.asarray, dense_gradient(kernel, bias, x))
    change = composed(g, kernel, size, adjoint=True)
    found, found_bias = gradient(layer, x, "relative")
    if kernel.shape[:2] == size:
        # The group of affine maps: a bias takes part, as in the projection of augmented matrices.
        change += np.outer(g_bias, bias)
        expected_bias = change.sum((0, 1)) @ bias + g_bias
    else:
        expected_bias = g_bias
    product = composed(centered(change), kernel, size, adjoint=False)
    expected = restricted(product, kernel.shape[:2])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found_bias, expected_bias, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("rule", ["relative", "transposed"])
@pytest.mark.parametrize(("shape", "taps"), SHAPES)
def test_relative_kernels_descend(rule, shape, taps, x64):
    for seed in range(5):
        layer, x = layer_and_data(shape, taps, seed)
        ordinary, relative = gradient(layer, x, "ordinary"), gradient(layer, x, rule)
        assert sum((a * b).sum() for a, b in zip(ordinary, relative, strict=True)) > 0


def test_the_metric_has_the_zeros_of_the_gradient(x64):
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2, 2)))
    basis = jnp.eye(kernel.size).reshape(-1, *kernel.shape)
    for variant in ("relative", "transposed"):
        metric = jax.vmap(lambda g, v=variant: relative_kernel_gradient(g, kernel, (5, 6), v))
        matrix = np.asarray(metric(basis)).reshape(kernel.size, -1)
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
        assert np.linalg.eigvalsh(matrix).min() > 1e-3


def test_the_inverse_free_formula_on_few_taps_may_ascend(x64):
    """Why it is not offered: `P_S[G ⋆ K̂ᴴ K̂]`, G on the whole torus, is not always a descent."""
    size, taps = (6, 6), (3, 3)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0))
    def slope(kernel, x):
        """The ordinary gradient times the inverse-free one: negative where that one ascends."""
        delta = jnp.tanh(convolve(x, kernel))
        d, z = (jnp.fft.rfft2(a, axes=(1, 2)) for a in (delta, convolve(x, kernel)))
        k = torus.spectrum(kernel, size)
        product = jnp.einsum("bhwi,bhwk,hwkj->hwij", d, z.conj(), k) / len(x)
        inverse_free = torus.kernel_of(product, size, taps) - size[0] * size[1] * kernel

        def mean_loss(kernel):
            data = jnp.log(jnp.cosh(convolve(x, kernel))).sum((1, 2, 3)).mean()
            return data - torus.log_abs_det(kernel, size)

        return (jax.grad(mean_loss)(kernel) * inverse_free).sum()

    rng = np.random.default_rng(0)
    slopes = slope(0.6 * rng.normal(size=(200, *taps, 1, 1)), rng.normal(size=(200, 4, *size, 1)))
    assert 0 < (slopes < 0).sum() < 100


@pytest.mark.parametrize("layout", ["hwio", "hwoi"])
@pytest.mark.parametrize("variant", ["relative", "transposed"])
def test_the_optax_transformation_is_the_rule_of_the_layer(layout, variant, x64):
    layer, x = layer_and_data((4, 5, 2), 3)
    expected, _ = gradient(layer, x, variant)
    ordinary, _ = gradient(layer, x, "ordinary")
    kernel = layer.kernel[...]
    if layout == "hwio":
        ordinary, kernel = ordinary.mT, kernel.mT
    optimizer = scale_by_relative_kernels("**/k", size=(4, 5), layout=layout, variant=variant)
    params = {"conv": {"k": kernel, "b": jnp.ones(2)}}
    updates, _ = optimizer.update(
        {"conv": {"k": ordinary, "b": jnp.ones(2)}}, optimizer.init(params), params
    )
    found = updates["conv"]["k"].mT if layout == "hwio" else updates["conv"]["k"]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(updates["conv"]["b"], jnp.ones(2))
    with pytest.raises(ValueError, match="at most 2 × 2 taps"):
        scale_by_relative_kernels("**/k", size=(2, 2), layout=layout).init(params)
    with pytest.raises(ValueError, match="params=None"):
        optimizer.update(params, optax.EmptyState())


def test_training_by_the_relative_rule_needs_no_inverse_on_the_whole_torus():
    layer = PeriodicConv((4, 4, 3), kernel_size=4, rngs=nnx.Rngs(0))
    x = jnp.ones((2, 4, 4, 3))

    def program(rule):
        layer.gradient_rule = rule
        graph, state = nnx.split(layer)
        gradient = jax.jit(jax.grad(lambda state: loss(nnx.merge(graph, state), x)))
        return gradient.lower(state).compile().as_text()

    # The elimination is a loop, the factorisation of `slogdet` a call of LAPACK.
    assert "while" in program("ordinary")
    assert "while" not in program("relative") and "getrf" not in program("relative")
