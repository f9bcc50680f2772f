from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowzoo
from flowzoo import bases
from flowzoo import transforms as T
from flowzoo.transforms import Chain, RationalQuadraticSpline, Stack, Standardize, Whiten
from flowzoo.transforms.transform import rows_used


def test_whitening_sees_all_rows_and_what_follows_no_more_than_it_needs(monkeypatch):
    seen = {}
    for kind in (Whiten, RationalQuadraticSpline):
        original = kind.fit

        def fit(self, x, context=None, original=original, kind=kind):
            seen.setdefault(kind, []).append(len(x))
            original(self, x, context)

        monkeypatch.setattr(kind, "fit", fit)
    splines = [RationalQuadraticSpline((2,), num_bins=4, init="quantiles") for _ in range(3)]
    transform = Chain([Standardize((2,)), Whiten(2), splines[0], Stack(splines[1:])])
    x = np.random.default_rng(0).normal(size=(50_000, 2)).astype(np.float32) ** 3
    flowzoo.Flow(bases.StandardNormal((2,)), transform).initialize(x)
    assert seen == {Whiten: [50_000], RationalQuadraticSpline: [25_000] * 3}


def test_quantiles_make_marginals_normal():
    rng = np.random.default_rng(0)
    columns = rng.exponential(size=20_000) - 1, rng.standard_t(4, size=20_000)
    spline = RationalQuadraticSpline((2,), init="quantiles")
    z = np.asarray(spline.initialize(jnp.asarray(np.stack(columns, 1), jnp.float32)))
    for column in z.T:
        quantiles = np.quantile(column, [0.005, 0.02, 0.16, 0.5, 0.84, 0.98, 0.995])
        np.testing.assert_allclose(quantiles, [-2.58, -2.05, -0.99, 0, 0.99, 2.05, 2.58], atol=0.1)


def test_splines_are_finite_everywhere_in_half_precision(x64):
    spline = RationalQuadraticSpline((1,), num_bins=8)
    x = jnp.concatenate([jnp.linspace(-7, 7, 5001), jnp.array([-1e30, 1e30, 0.0])])[:, None]
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        limit = 0.5 * float(jnp.finfo(dtype).max)
        at = jnp.clip(x, -limit, limit).astype(dtype)
        z, log_det = jax.jit(spline.forward_and_log_det)(at)
        back, _ = jax.jit(spline.inverse_and_log_det)(z)
        assert z.dtype == log_det.dtype == back.dtype == dtype
        assert bool(jnp.isfinite(z).all() & jnp.isfinite(log_det).all())
        for result in (z, back):
            np.testing.assert_allclose(result.astype(float), at.astype(float), atol=1e-6, rtol=1e-6)


class Holder(T.Transform):
    """A transform that holds another and does not hand data on."""

    def __init__(self, transform):
        self.event_shape, self.transform = transform.event_shape, transform

    def forward_and_log_det(self, x, context=None):
        return self.transform.forward_and_log_det(x, context)

    def inverse_and_log_det(self, z, context=None):
        return self.transform.inverse_and_log_det(z, context)


def before():
    return T.TanhMix((3,))


def in_image(inner):
    return T.FactorOut((1, 1, 5), Chain([T.Reshape((1, 1, 3), (3,)), *inner]))


# In each, the layer gets the data's first three coordinates, mapped by `before`.
HOLDERS = {
    "chain": lambda t: Chain([before(), Chain([t, T.Reverse(3)])]),
    "inverse of inverse": lambda t: Chain([before(), T.Inverse(T.Inverse(t))]),
    "inverse of a chain": lambda t: T.Inverse(Chain([T.Inverse(t), T.Inverse(before())])),
    "stack": lambda t: Chain([before(), Stack([t])]),
    "inverse of a stack": lambda t: T.Inverse(Stack([Chain([T.Inverse(t), T.Inverse(before())])])),
    "factor out": lambda t: Chain([T.Reshape((5,), (1, 1, 5)), in_image([before(), t])]),
    "inverse of factor out": lambda t: T.Inverse(in_image([T.Inverse(t), T.Inverse(before())])),
    "deep": lambda t: T.Inverse(Chain([Stack([T.Inverse(Chain([before(), Stack([t])]))])])),
}


@pytest.mark.parametrize("as_flow", [False, True])
@pytest.mark.parametrize("name", HOLDERS)
def test_data_reach_a_layer_wherever_it_stands(name, as_flow):
    transform = HOLDERS[name](Whiten(3))
    x = np.random.default_rng(0).normal(size=(500, *transform.event_shape)) + 1
    x = jnp.asarray(x * jnp.geomspace(0.1, 1, x.shape[-1]), jnp.float32)
    assert rows_used(transform) is None
    if as_flow:
        flowzoo.Flow(bases.StandardNormal(transform.latent_shape), transform).initialize(x)
    else:
        np.testing.assert_allclose(transform.initialize(x), transform.forward(x), atol=1e-3)
    expected = Whiten(3)
    expected.fit(before().forward(x[:, :3]))
    (found,) = (m for _, m in nnx.iter_modules(transform) if isinstance(m, Whiten))
    for name in ("mean", "weight", "inverse_weight", "log_det"):
        value = np.asarray(getattr(expected, name)[...])
        np.testing.assert_allclose(
            np.squeeze(getattr(found, name)[...]), value, rtol=1e-3, atol=1e-4
        )


STARTS = [
    lambda: Whiten(3),
    lambda: Standardize((3,)),
    lambda: T.Triangular(3),
    lambda: T.Radial(3),
    lambda: T.MixtureCDF((3,), init="quantiles"),
    lambda: RationalQuadraticSpline((3,), init="quantiles"),
]


@pytest.mark.parametrize("start", STARTS)
def test_a_layer_that_data_would_pass_backwards_is_refused(start):
    layer = start()
    transform = T.Inverse(Chain([T.TanhMix((3,)), Stack([Chain([layer])])]))
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    flow = flowzoo.Flow(bases.StandardNormal((3,)), transform)
    for initialize in (transform.initialize, flow.initialize):
        with pytest.raises(ValueError, match=f"{type(layer).__name__} stands in an Inverse"):
            initialize(x)


def test_a_transform_that_does_not_hand_data_on_is_refused():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for held, method in ((Whiten(3), "initialize"), (T.BatchNorm((3,)), "update_statistics")):
        transform = Chain([T.TanhMix((3,)), Holder(Chain([held]))])
        flow = flowzoo.Flow(bases.StandardNormal((3,)), transform)
        for module in (transform, flow):
            with pytest.raises(ValueError, match=f"Holder holds {type(held).__name__}, which"):
                getattr(module, method)(x)
    # What needs no data passes.
    transform = Chain([Holder(T.Dense(3, rngs=nnx.Rngs(0))), T.Inverse(T.TanhMix((3,)))])
    np.testing.assert_allclose(transform.initialize(x), transform.forward(x), rtol=1e-5)
