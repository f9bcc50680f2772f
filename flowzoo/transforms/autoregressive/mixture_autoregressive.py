"""Autoregressive mixtures of Gaussians: `p(x_i | x_0 … x_{i−1}, c) = Σ_k π_k N(x_i; μ_k, σ_k²)`."""

from flax import nnx

from flowzoo.nets.mixture_outputs import num_outputs, spread_means
from flowzoo.numerics.gaussian_mixture import Mixture
from flowzoo.transforms.autoregressive.masked_autoregressive import Autoregressive


class MixtureAutoregressive(Autoregressive):
    """`z_i = Φ⁻¹(F_i(x_i))`, F_i the mixture's distribution function given `x_0 … x_{i−1}` and c.

    `log_det = Σ log p(x_i | x_0 … x_{i−1}, c) − log φ(z_i)`. On a standard normal base this is the
    same density as `MixtureMADE`; use it where latents are wanted, as in the middle of a flow. The
    inverse solves each `F_i(x_i) = Φ(z_i)` by a safeguarded Newton iteration. All of it works on
    the logarithm of the smaller tail, and is accurate however far out.

    Args:
      dim: D.
      num_components: C.
      **options: those of `Autoregressive`.

    Raises:
      ValueError: if there is no component, or `Autoregressive` refuses an option.
    """

    def __init__(self, dim: int, *, num_components: int = 10, rngs: nnx.Rngs, **options):
        super().__init__(dim, num_outputs(num_components), rngs=rngs, **options)
        spread_means(self.net, rngs)

    def value_and_log_slope(self, x, y):
        return Mixture.from_outputs(y).gaussianize(x)

    def invert(self, z, y):
        return Mixture.from_outputs(y).degaussianize(z)
