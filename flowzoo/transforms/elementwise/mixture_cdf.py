"""Mixtures of logistics as elementwise maps to the normal distribution."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from flowzoo.numerics.mixture_tails import logistic_mixture_tails
from flowzoo.numerics.normal import log_hazard, log_ndtr, normal_quantile
from flowzoo.transforms.elementwise.nonlinearities import Elementwise
from flowzoo.transforms.elementwise.spline import QUANTILE_ROWS, check_init


class MixtureCDF(Elementwise):
    """`z_i = Φ⁻¹(Σ_k π_k sigmoid((x_i − μ_k) / s_k))`, a mixture of logistics per coordinate.

    It makes a coordinate whose density is that mixture exactly standard normal. Φ is the standard
    normal's distribution function.

    Args:
      event_shape: shape of one `x`.
      num_components: K.
      init: `identity` (nearly so), or `quantiles`: `fit` spreads the components over the
        data.

    Raises:
      ValueError: on fewer than one component or an unknown init.

    Source: Meng, Song, Song, Ermon, "Gaussianization flows", arXiv 2003.01941.
    """

    def __init__(
        self, event_shape: tuple[int, ...], *, num_components: int = 8, init: str = "identity"
    ):
        if num_components < 1:
            raise ValueError(f"MixtureCDF got {num_components} components, expected >= 1.")
        check_init(init)
        self.event_shape, self.init = tuple(event_shape), init
        shape = (*self.event_shape, num_components)
        mean = special.ndtri((np.arange(num_components) + 0.5) / num_components)
        variance = max(1 - np.mean(mean**2), 0.05)
        log_scale = 0.5 * math.log(3 * variance) - math.log(math.pi)
        self.logits = nnx.Param(jnp.zeros(shape))
        self.mean = nnx.Param(jnp.broadcast_to(jnp.asarray(mean, jnp.float32), shape))
        self.log_scale = nnx.Param(jnp.full(shape, log_scale))

    def value_and_log_slope(self, x):
        log_weight, log_scale = jax.nn.log_softmax(self.logits[...]), self.log_scale[...]
        u = (x[..., None] - self.mean[...]) * jnp.exp(-log_scale)
        lower, upper, log_rate = logistic_mixture_tails(u, log_weight, log_scale, axis=-1)
        z = normal_quantile(lower, upper)
        return z, log_rate - log_hazard(-jnp.abs(z))

    def value_and_slope(self, x):
        z, log_slope = self.value_and_log_slope(x)
        return z, jnp.exp(log_slope)

    def bracket(self, z):
        # At the answer no component may lie wholly on one side of the mixture's quantile.
        logit = log_ndtr(z) - log_ndtr(-z)
        at = self.mean[...] + jnp.exp(self.log_scale[...]) * logit[..., None]
        lower, upper = at.min(-1), at.max(-1)
        margin = 1e-4 * (1 + jnp.maximum(jnp.abs(lower), jnp.abs(upper)))
        return lower - margin, upper + margin

    @property
    def fit_rows(self) -> int | None:
        return QUANTILE_ROWS if self.init == "quantiles" else 0

    def fit(self, x, context=None):
        self.check_event(x)
        rows = np.asarray(x, np.float64)
        num = self.mean.shape[-1]
        edges = np.quantile(rows, (np.arange(num + 1) + 0.1) / (num + 0.2), axis=0)
        edges = np.moveaxis(edges, 0, -1)
        mean = (edges[..., 1:] + edges[..., :-1]) / 2
        # Half a gap makes neighbouring components join without a dip.
        scale = np.maximum(np.diff(edges) / 2, 1e-3 * (1e-3 + np.ptp(edges, -1)[..., None]))
        self.mean[...] = jnp.asarray(mean, self.mean.dtype)
        self.log_scale[...] = jnp.asarray(np.log(scale), self.log_scale.dtype)
