"""Fixed maps that bring raw numbers to a scale that single precision can hold."""

import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.shapes import sum_event
from flowzoo.numerics.variables import Constant
from flowzoo.transforms.transform import Transform


class Units(Transform):
    """`z = (x − μ) / σ` with μ and σ known to double precision; `log_det = −Σ log|σ_i|`.

    Each number is the sum of two in single precision, so that it survives where JAX has no float64:
    seconds since 1970 need more digits than float32 has. On `x` in float64 the map is exact to
    float64, on `x` in float32 it is as good as `x` is.

    Args:
      event_shape: shape of one `x`.
      shift: μ, broadcasts to `event_shape`.
      scale: σ, broadcasts to `event_shape`, nowhere zero.

    Raises:
      ValueError: if `shift` or `scale` holds a number that is not finite in float32, or `scale` one
        that is zero there.
    """

    def __init__(self, event_shape: tuple[int, ...], *, shift=0.0, scale=1.0):
        self.event_shape = tuple(event_shape)
        shifts, scales = self._in_two(shift), self._in_two(scale)
        if not (np.isfinite(shifts[0]).all() and np.isfinite(scales[0]).all()):
            raise ValueError("Units got a shift or a scale beyond 3e38, expected finite float32.")
        if np.any(scales[0] == 0):
            raise ValueError("Units got a scale below 1e-45, expected numbers other than zero.")
        self.shift, self.shift_rest = (Constant(jnp.asarray(a)) for a in shifts)
        self.scale, self.scale_rest = (Constant(jnp.asarray(a)) for a in scales)

    def _in_two(self, number) -> tuple[np.ndarray, np.ndarray]:
        number = np.broadcast_to(np.asarray(number, np.float64), self.event_shape)
        with np.errstate(over="ignore"):
            high = number.astype(np.float32)
        return high, np.where(np.isfinite(high), number - high, 0).astype(np.float32)

    def _scale(self, a: jax.Array) -> jax.Array:
        return self.scale[...].astype(a.dtype) + self.scale_rest[...].astype(a.dtype)

    def _log_det(self, x: jax.Array) -> jax.Array:
        return self.for_each_event(-jnp.log(jnp.abs(self._scale(x))).sum(), x)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        centred = x - self.shift[...].astype(x.dtype) - self.shift_rest[...].astype(x.dtype)
        return centred / self._scale(x), self._log_det(x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        # The small one first, where the sum is not yet large.
        x = z * self._scale(z) + self.shift_rest[...].astype(z.dtype)
        return x + self.shift[...].astype(z.dtype), -self._log_det(z)


class Arcsinh(Transform):
    """`z_i = asinh(x_i)` in chosen coordinates; `log_det = −Σ ½ log(1 + x_i²)` over them.

    Like `x` near zero and like `±log 2|x|` far out, so that heavy tails become light.

    Args:
      event_shape: shape of one `x`.
      where: which coordinates, broadcasts to `event_shape`.
    """

    def __init__(self, event_shape: tuple[int, ...], *, where=True):
        self.event_shape = tuple(event_shape)
        chosen = np.broadcast_to(np.asarray(where, np.float32), self.event_shape)
        self.where = Constant(jnp.asarray(chosen))  # 1 or 0

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        chosen = self.where[...] > 0
        z = jnp.where(chosen, jnp.arcsinh(x), x)
        return z, -self._log_cosh(jnp.where(chosen, z, 0))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        chosen = self.where[...] > 0
        inner = jnp.where(chosen, z, 0)
        return jnp.where(chosen, jnp.sinh(inner), z), self._log_cosh(inner)

    def _log_cosh(self, z: jax.Array) -> jax.Array:
        # √(1 + x²) = cosh z, which does not overflow.
        size = jnp.abs(z)
        log_cosh = size + jnp.log1p(jnp.exp(-2 * size)) - jnp.log(2.0).astype(z.dtype)
        return sum_event(log_cosh, len(self.event_shape))
