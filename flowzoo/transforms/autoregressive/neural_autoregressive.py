"""Neural autoregressive flows: deep sigmoidal maps whose weights the coordinates before give."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.mixture_outputs import num_outputs, spread_means
from flowzoo.numerics.mixture_tails import logistic_mixture_tails
from flowzoo.numerics.root_finding import invert_increasing
from flowzoo.numerics.smooth import bounded_log_scale
from flowzoo.transforms.autoregressive.masked_autoregressive import Autoregressive


class NeuralAutoregressive(Autoregressive):
    """`z_i = logit(Σ_k w_k sigmoid(a_k (x_i − m_k)))`, w, a and m of `x_0 … x_{i−1}` and c.

    The weights w are positive and sum to one, the slopes a are positive; beyond the units' reach
    the map goes on straight. `log_det = Σ log dz_i/dx_i`. The inverse lies between the units' own,
    `m_k + z_i / a_k`, and is found there by `invert_increasing`, up to `4 ε max(1, |z|)` in z, ε
    the rounding unit.

    Source: Huang, Krueger, Lacoste, Courville, "Neural autoregressive flows", ICML 2018, arXiv
    1804.00779, the deep sigmoidal flow.

    Args:
      dim: D.
      num_units: K.
      **options: those of `Autoregressive`.

    Raises:
      ValueError: if there is no unit, or `Autoregressive` refuses an option.
    """

    def __init__(self, dim: int, *, num_units: int = 16, rngs: nnx.Rngs, **options):
        super().__init__(dim, num_outputs(num_units), rngs=rngs, **options)
        spread_means(self.net, rngs)

    def value_and_log_slope(self, x, y):
        log_weight, mean, log_slope = _units(y)
        u = jnp.exp(log_slope) * (x[..., None, :] - mean)
        lower, upper, log_rate = logistic_mixture_tails(u, log_weight, -log_slope, axis=-2)
        return lower - upper, log_rate - jnp.maximum(lower, upper)

    def invert(self, z, y):
        _, mean, log_slope = _units(y)
        own = mean + jnp.exp(-log_slope) * z[..., None, :]
        lower, upper = own.min(-2), own.max(-2)
        margin = 1e-5 * (1 + jnp.maximum(jnp.abs(lower), jnp.abs(upper)))

        def value_and_slope(x):
            value, log_slope = self.value_and_log_slope(x, y)
            return value, jnp.exp(log_slope)

        return invert_increasing(value_and_slope, z, lower - margin, upper + margin)


def _units(y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`log w`, m and `log a`, each `[..., K, D]`, of `y: [..., 3 K, D]`."""
    logits, mean, log_slope = jnp.split(y, 3, -2)
    return jax.nn.log_softmax(logits, -2), mean, bounded_log_scale(log_slope)
