"""Radial transforms: the length of a vector changes, its direction stays."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import chdtri

from flowzoo.numerics.variables import Constant
from flowzoo.transforms.elementwise.spline import (
    QUANTILE_ROWS,
    Knots,
    check_init,
    inverse_rational_quadratic,
    make_knots,
    quantile_knots,
    rational_quadratic,
)
from flowzoo.transforms.transform import Transform

NORM_FLOOR = 1e-6


class Radial(Transform):
    """`z = x e^{v − u}` with `u = log‖x‖` and an increasing spline `v = f(u)`; or so in each group.

    The coordinates are divided into G consecutive groups of g = D / G, each with its own spline, a
    rational-quadratic one on the standardised log-norm `(u − m) / s` with slope 1 outside its bins,
    so that the map is a plain scaling near the origin and far out.
    `log_det = Σ_groups [g (v − u) + log dv/du]`. Starts at the identity. It takes out a
    scale that coordinates have in common, contrast for example, which elementwise maps cannot.

    Args:
      dim: D.
      num_groups: G, a divisor of D.
      num_bins: of each spline.
      bound: the bins cover [−bound, bound] standard deviations of the log-norm.
      init: `identity`, or `quantiles`: `fit` makes the norms of the data about those of a
        standard normal vector.

    Raises:
      ValueError: if G does not divide D, or on an unknown init.

    Source: for the kind of map, Lyu, Simoncelli, "Nonlinear extraction of independent components
    of natural images using radial Gaussianization", Neural Computation 2009; for groups with a
    common scale, Hyvärinen, Hoyer, "Emergence of phase- and shift-invariant features by
    decomposition of natural images into independent feature subspaces", Neural Computation 2000.
    """

    fit_rows = QUANTILE_ROWS

    def __init__(
        self,
        dim: int,
        *,
        num_groups: int = 1,
        num_bins: int = 16,
        bound: float = 6.0,
        init: str = "identity",
    ):
        if num_groups < 1 or dim % num_groups:
            raise ValueError(f"Radial got {num_groups} groups, expected a divisor of {dim}.")
        self.event_shape, self.num_groups = (dim,), num_groups
        self.bound, self.init = float(bound), init
        check_init(init)
        size = dim // num_groups
        # Of the log of a chi variable, to leading order.
        self.mean = Constant(jnp.full(num_groups, 0.5 * math.log(size)))
        self.scale = Constant(jnp.full(num_groups, 1 / math.sqrt(2 * size)))
        self.widths = nnx.Param(jnp.zeros((num_groups, num_bins)))
        self.heights = nnx.Param(jnp.zeros((num_groups, num_bins)))
        self.slopes = nnx.Param(jnp.zeros((num_groups, num_bins - 1)))
        self.shift = nnx.Param(jnp.zeros(num_groups))

    def _groups(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """All groups as rows `[N G, g]` and the standardised log-norms `[..., G]`."""
        # XLA's CPU backend takes five times as long for sums over the last of three axes.
        rows = x.reshape(-1, x.shape[-1] // self.num_groups)
        # Below the floor the map is a plain scaling, whose factor a norm of zero would leave open.
        log_norm = 0.5 * jnp.log(jnp.maximum((rows * rows).sum(-1), NORM_FLOOR**2))
        log_norm = log_norm.reshape(*x.shape[:-1], self.num_groups)
        return rows, (log_norm - self.mean[...]) / self.scale[...]

    def _knots(self, dtype) -> Knots:
        knots = make_knots(
            self.widths[...].astype(dtype),
            self.heights[...].astype(dtype),
            jnp.pad(self.slopes[...].astype(dtype), ((0, 0), (1, 1))),
            self.shift[...].astype(dtype)[:, None],
            self.bound,
        )
        return knots._replace(slope=knots.slope.at[:, jnp.array([0, -1])].set(1))

    def _apply(self, function, x: jax.Array, sign: int) -> tuple[jax.Array, jax.Array]:
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        rows, u = self._groups(x.astype(dtype))
        v, log_slope = function(u, self._knots(dtype))
        log_scale = (v - u) * self.scale[...].astype(dtype)
        z = rows * jnp.exp(log_scale).reshape(-1, 1)
        log_det = (rows.shape[-1] * log_scale + sign * log_slope).sum(-1)
        return z.reshape(x.shape).astype(x.dtype), log_det.astype(x.dtype)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._apply(rational_quadratic, x, 1)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return self._apply(inverse_rational_quadratic, z, -1)

    def fit(self, x, context=None):
        self.check_event(x)
        norms = np.linalg.norm(np.asarray(x).reshape(len(x), self.num_groups, -1), axis=-1)
        log_norms = np.log(np.maximum(norms, NORM_FLOOR)).astype(np.float64)
        self.mean[...] = jnp.asarray(log_norms.mean(0), self.mean.dtype)
        self.scale[...] = jnp.asarray(np.maximum(log_norms.std(0), 1e-3), self.scale.dtype)
        if self.init == "quantiles":
            self._gaussianize(log_norms)

    def _gaussianize(self, log_norms: np.ndarray) -> None:
        mean, scale = log_norms.mean(0), np.maximum(log_norms.std(0), 1e-3)
        size = self.event_shape[0] // self.num_groups

        def log_chi(p):
            return (0.5 * np.log(chdtri(size, 1 - p)) - mean.mean()) / scale.mean()

        raw = quantile_knots((log_norms - mean) / scale, log_chi, self.widths.shape[-1], self.bound)
        widths, heights, slopes, shift = raw
        for parameter, value in (
            (self.widths, widths),
            (self.heights, heights),
            (self.slopes, slopes[:, 1:-1]),
            (self.shift, shift),
        ):
            parameter[...] = jnp.asarray(value, parameter.dtype)
