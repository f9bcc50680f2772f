import jax.numpy as jnp
import numpy as np

import flowzoo
from flowzoo import bases
from flowzoo.transforms import Chain, RationalQuadraticSpline, Stack, Standardize, Whiten


def test_whitening_sees_all_rows_and_what_follows_no_more_than_it_needs(monkeypatch):
    seen = {}
    for kind in (Whiten, RationalQuadraticSpline):
        original = kind.initialize

        def initialize(self, x, context=None, original=original, kind=kind):
            seen.setdefault(kind, []).append(len(x))
            return original(self, x, context)

        monkeypatch.setattr(kind, "initialize", initialize)
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
        z, log_det = spline.forward_and_log_det(at)
        back, _ = spline.inverse_and_log_det(z)
        assert z.dtype == log_det.dtype == back.dtype == dtype
        assert bool(jnp.isfinite(z).all() & jnp.isfinite(log_det).all())
        for result in (z, back):
            np.testing.assert_allclose(result.astype(float), at.astype(float), atol=1e-6, rtol=1e-6)
