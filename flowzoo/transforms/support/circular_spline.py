"""Splines of angles: increasing maps of the circle onto itself."""

from collections.abc import Sequence
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.mlp import MLP
from flowzoo.numerics.rational_quadratic import BoxSpline, num_outputs
from flowzoo.numerics.shapes import batch_shape, sum_event
from flowzoo.transforms.coupling.mask import Masked
from flowzoo.transforms.transform import Transform


def wrapped(x: jax.Array) -> jax.Array:
    """The same angles in [−π, π)."""
    return x - 2 * math.pi * jnp.floor((x + math.pi) / (2 * math.pi))


class CircularSpline(Transform):
    """`z_i = f_i(x_i) + φ_i` for angles, `f_i(x + 2π) = f_i(x) + 2π`; `log_det = Σ log f_i'`.

    f_i is an increasing rational-quadratic spline of [−π, π] onto itself whose slope is the same at
    both ends, so that it is smooth on the circle. Angles that differ by full turns have the same
    image up to full turns, and the density of a flow on the circle is that over `UniformCircle`.
    Starts at the identity.

    Source: Rezende, Papamakarios, Racanière, Albergo, Kanwar, Shanahan, Cranmer, "Normalizing flows
    on tori and spheres", ICML 2020, arXiv 2002.02428.

    Args:
      event_shape: shape of one `x`.
      num_bins: of each spline, at least 2.
      wrap: whether the inverse brings its angles into [−π, π).

    Raises:
      ValueError: on fewer than 2 bins.
    """

    def __init__(self, event_shape: tuple[int, ...], *, num_bins: int = 8, wrap: bool = True):
        self.event_shape, self.wrap = tuple(event_shape), bool(wrap)
        outputs = num_outputs(type(self).__name__, num_bins, math.pi) + 1
        self.parameters = nnx.Param(jnp.zeros((outputs + 1, *self.event_shape)))

    def _turn(self, function: str, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        flat = a.reshape(*batch_shape(a, self.event_shape), -1)
        y = self.parameters[...].astype(a.dtype)
        b, log_slope = turn(function, flat, y.reshape(len(y), -1))
        return b.reshape(a.shape), sum_event(log_slope.reshape(a.shape), len(self.event_shape))

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._turn("evaluate", x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x, log_det = self._turn("invert", z)
        return wrapped(x) if self.wrap else x, -log_det


class CircularSplineCoupling(Masked):
    """`z_i = f_i(x_i; x_A, c) + φ_i(x_A, c)` where the mask is 0, else `z_i = x_i`, for angles, as
    in `CircularSpline`; `log_det = Σ log f_i'`.

    The network sees the cosines and sines of the kept angles x_A, and the context. Its last layer
    starts at zero, the transform at the identity.

    Args:
      mask: zeros and ones, at least one of each; its shape is the event's.
      num_bins: of each spline, at least 2.
      wrap: whether the inverse brings the changed angles into [−π, π).
      hidden_sizes, activation, residual: of the `MLP`.
      context_size: width of the context, 0 for none.
      rngs: draws the weights.

    Raises:
      ValueError: if the mask or the bins are not as above, or the network refuses an option.
    """

    def __init__(
        self,
        mask,
        *,
        num_bins: int = 8,
        wrap: bool = True,
        hidden_sizes: Sequence[int] = (64,),
        activation: str = "relu",
        residual: bool = False,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        super().__init__(mask)
        outputs = num_outputs(type(self).__name__, num_bins, math.pi) + 2
        self.wrap, self.context_size = bool(wrap), context_size
        self.net = MLP(
            2 * self.num_kept,
            outputs * self.num_changed,
            hidden_sizes=hidden_sizes,
            activation=activation,
            residual=residual,
            context_size=context_size,
            zero_output=True,
            rngs=rngs,
        )

    def _turn(self, function: str, a: jax.Array, context: jax.Array | None):
        kept, changed = self.split(a)
        y = self.net(jnp.concatenate([jnp.cos(kept), jnp.sin(kept)], -1), context)
        y = y.reshape(*y.shape[:-1], -1, self.num_changed)
        changed, log_slope = turn(function, changed, y)
        return kept, changed, log_slope.sum(-1)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        kept, changed, log_det = self._turn("evaluate", x, context)
        return self.merge(kept, changed), log_det

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        kept, changed, log_det = self._turn("invert", z, context)
        return self.merge(kept, wrapped(changed) if self.wrap else changed), -log_det


def turn(function: str, a: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Maps angles `a: [..., D]` by the splines of the numbers `y: [..., 3 K + 1, D]`.

    The last of the numbers is φ.

    Args:
      function: `evaluate` or `invert`.
    """
    shift, sign = y[..., -1, :], 1 if function == "evaluate" else -1
    spline = BoxSpline.from_outputs(y[..., :-1, :], math.pi, periodic=True)
    start = a if sign == 1 else a - shift
    inside = wrapped(start).astype(spline.widths.dtype)
    b, log_slope = getattr(spline, f"{function}_inside")(inside)
    b = b + (start - inside)
    return (b + shift if sign == 1 else b).astype(a.dtype), log_slope.astype(a.dtype)
