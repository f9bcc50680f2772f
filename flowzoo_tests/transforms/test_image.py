"""Multi-scale image transforms: masks, squeeze, factor-out and the invertible 1 × 1 convolution."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo import transforms as T
from flowzoo.context import Labels
from flowzoo.transforms.linear.dense import (
    check_invertible,
    dense_layers,
)
from flowzoo_tests.perturb import perturbed


@jax.jit
def forward_and_log_det(transform, x, context=None):
    return transform.forward_and_log_det(x, context)


def real_nvp(image_shape=(4, 4, 1), **options):
    options = {"image_shape": image_shape, "hidden_channels": 2, "num_blocks": 1, **options}
    context = options.pop("context", None)
    config = {"name": "real_nvp_image", **options}
    size = (int(np.prod(image_shape)),)
    return perturbed(flowzoo.build(config, size, context=context, rngs=nnx.Rngs(0)), 0.05)


def kept_pixels(coupling):
    row, column, channel = np.indices(coupling.event_shape)
    if isinstance(coupling, T.CheckerboardCoupling):
        return (row + column + coupling.parity) % 2 == 0
    first = channel < (coupling.event_shape[-1] + 1) // 2
    return ~first if coupling.parity else first


@pytest.mark.parametrize("kind", [T.CheckerboardCoupling, T.ChannelCoupling])
@pytest.mark.parametrize("parity", [0, 1])
def test_jacobian_of_a_coupling_has_the_zero_pattern_of_its_mask(kind, parity):
    options = {"hidden_channels": 4, "num_blocks": 1, "rngs": nnx.Rngs(0)}
    layer = perturbed(kind((3, 3, 3), parity=parity, **options))
    x = jax.random.normal(jax.random.key(0), (3, 3, 3))
    jacobian = jax.jit(lambda f, x: jax.jacrev(f.forward)(x))(layer, x).reshape(27, 27)
    kept = kept_pixels(layer).reshape(27)
    np.testing.assert_array_equal(jacobian[kept], np.eye(27)[kept])
    between_changed = jacobian[~kept][:, ~kept]
    np.testing.assert_array_equal(between_changed != 0, np.eye(np.sum(~kept), dtype=bool))
    assert np.any(jacobian[~kept][:, kept] != 0, 1).all()
    np.testing.assert_array_equal(
        forward_and_log_det(layer, x)[0].reshape(27)[kept], x.ravel()[kept]
    )


def test_squeeze_makes_a_pixel_of_each_block_of_four():
    x = jnp.arange(32).reshape(4, 4, 2)
    z = T.Squeeze((4, 4, 2)).forward(x)
    assert z.shape == (2, 2, 8)
    np.testing.assert_array_equal(z[1, 0], x[2:, :2].ravel())


def test_factor_out_sends_the_last_channels_out_as_they_are():
    x = jnp.arange(1.0, 13.0).reshape(2, 2, 3)
    inner = T.Affine((2, 2, 2), scale=0.5)
    z, log_det = T.FactorOut((2, 2, 3), inner).forward_and_log_det(x)
    np.testing.assert_array_equal(z[:8], 2 * x[..., :2].ravel())
    np.testing.assert_array_equal(z[8:], x[..., 2].ravel())
    np.testing.assert_allclose(log_det, 8 * np.log(2))


@pytest.mark.parametrize("conv1x1", [False, True])
def test_multi_scale_flow_is_a_bijection_of_all_pixels(conv1x1):
    flow = real_nvp(conv1x1=conv1x1, batch_norm=not conv1x1)
    assert flow.event_shape == flow.base.event_shape == (16,)

    @jax.jit
    def check(flow, x):
        z, log_det = flow.transform.forward_and_log_det(x)
        back, inverse_log_det = flow.transform.inverse_and_log_det(z)
        expected = jnp.linalg.slogdet(jax.jacrev(flow.transform.forward)(x[0]))[1]
        return back, log_det, inverse_log_det, expected

    x = jax.random.normal(jax.random.key(0), (3, 16))
    back, log_det, inverse_log_det, expected = check(flow, x)
    np.testing.assert_allclose(back, x, atol=1e-4)
    np.testing.assert_allclose(log_det, -inverse_log_det, atol=1e-4)
    np.testing.assert_allclose(log_det[0], expected, atol=1e-4)


def test_conditional_multi_scale_flow():
    flow = real_nvp(context=Labels(2))
    x = jnp.linspace(-1, 1, 32).reshape(2, 1, 16)
    log_prob = jax.jit(lambda f, x, c: f.log_prob(x, c))(flow, x, jnp.array([0, 1]))
    assert log_prob.shape == (2, 2) and np.all(log_prob[:, 0] != log_prob[:, 1])


def test_statistics_reach_the_inner_scales():
    flow = real_nvp()
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (50, 16))

    @jax.jit
    def update(flow, x):
        flow.update_statistics(x)
        return (
            flow,
            flow.transform.forward(x),
            T.with_modes(flow.transform, batch_statistics=True).forward(x),
        )

    updated, z, expected = update(flow, x)
    inner = updated.transform.transforms[1].transforms[-1].transform
    means = [layer.mean[...] for layer in inner.transforms if isinstance(layer, T.BatchNorm)]
    assert len(means) == 4 and np.all(np.abs(jnp.stack(means)) > 0)
    np.testing.assert_allclose(z, expected, atol=1e-3)


def test_relative_rule_of_the_convolution_multiplies_by_the_metric(x64):
    layer = T.Invertible1x1Conv((2, 3, 4), init="identity", rngs=nnx.Rngs(0))
    layer.dense.weight[...] += 0.3 * jax.random.normal(jax.random.key(1), (4, 4))
    layer = jax.tree.map(lambda a: a.astype(jnp.float64), layer)
    x = jax.random.normal(jax.random.key(0), (5, 2, 3, 4), jnp.float64)

    def loss(layer):
        z, log_det = layer.forward_and_log_det(x)
        return (jnp.sum(jnp.cosh(z), (1, 2, 3)) - log_det).mean()

    def gradient(rule):
        return nnx.grad(loss)(T.with_modes(layer, gradient_rule=rule))["dense"]["weight"][...]

    weight = layer.dense.weight[...]
    np.testing.assert_allclose(
        gradient("relative"), gradient("ordinary") @ weight.T @ weight, rtol=1e-10
    )
    data_terms = gradient("data_terms") @ weight.T @ weight
    np.testing.assert_allclose(gradient("relative"), data_terms - 2 * 3 * weight, rtol=1e-10)


def test_convolution_takes_part_in_what_dense_layers_do():
    flow = real_nvp((4, 2, 1), conv1x1=True)
    assert len(dense_layers(flow)) == 3
    x = jnp.ones((2, 8))
    z, log_det = forward_and_log_det(flow.transform, x)
    again, again_log_det = forward_and_log_det(T.with_modes(flow, factored=True).transform, x)
    np.testing.assert_allclose(again, z, atol=1e-5)
    np.testing.assert_allclose(again_log_det, log_det, rtol=1e-5)
    check_invertible(flow)
    next(iter(dense_layers(flow).values())).weight[...] = jnp.zeros((4, 4))
    with pytest.raises(ValueError, match="singular"):
        check_invertible(flow)


def test_bad_shapes_are_told_what_was_expected():
    with pytest.raises(ValueError, match="even height and width"):
        T.Squeeze((3, 4, 1))
    with pytest.raises(ValueError, match="two channels"):
        T.ChannelCoupling((2, 2, 1), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="two pixels"):
        T.CheckerboardCoupling((1, 1, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\(H, W, C\)"):
        T.Invertible1x1Conv((4,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="1 … 2 channels"):
        T.FactorOut((2, 2, 3), T.TanhMix((2, 2, 3)))
    with pytest.raises(ValueError, match="H W C = D"):
        flowzoo.build({"name": "real_nvp_image", "image_shape": (2, 2, 3)}, (11,), rngs=nnx.Rngs(0))
    for shape, scales in (((6, 6, 1), 3), ((4, 4, 1), 3), ((2, 2, 3), 2), ((1, 1, 2), 1)):
        with pytest.raises(ValueError, match=f"real_nvp_image got {scales} scales.*two pixels"):
            real_nvp(shape, num_scales=scales)
    real_nvp((4, 2, 1), num_scales=2)


def test_checkerboards_of_a_scale_change_every_pixel():
    flow = real_nvp((4, 4, 1), num_scales=1, batch_norm=False)
    x = jnp.linspace(-1, 1, 16)
    changed = np.abs(flow.transform.forward(x) - x) > 0
    assert changed.all()
    couplings = [m for _, m in nnx.iter_modules(flow) if isinstance(m, T.CheckerboardCoupling)]
    assert [coupling.parity for coupling in couplings] == [0, 1, 0, 1]


def test_canonical_gradients_of_convolutions_are_those_of_autodiff(x64):
    flow = real_nvp((6, 4, 1), hidden_channels=3)
    x = jax.random.normal(jax.random.key(0), (5, 24), jnp.float64)

    def gradients(flow, in_loop=False):
        graph, params, rest = nnx.split(flow, nnx.Param, ...)
        params = jax.tree.map(lambda a: a.astype(jnp.float64), params)

        def loss(params, x):
            return nnx.merge(graph, params, rest).log_prob(x).mean()

        grad = jax.grad(loss, argnums=(0, 1))
        if in_loop:
            return jax.jit(lambda *a: jax.lax.map(lambda _: grad(*a), jnp.arange(2)))(params, x)
        return jax.jit(grad)(params, x)

    expected, canonical = gradients(flow), T.with_modes(flow, canonical_gradients=True)
    for found in (gradients(canonical), gradients(canonical, in_loop=True)):
        for e, f in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
            assert f.dtype == jnp.float64 and np.any(f != 0)
            np.testing.assert_allclose(f, np.broadcast_to(e, f.shape), rtol=1e-10, atol=1e-12)
