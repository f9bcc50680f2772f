"""Planar and radial flows: one direction or one centre along which space is bent."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.root_finding import invert_increasing
from flowzoo.numerics.shapes import check_context
from flowzoo.numerics.smooth import positive
from flowzoo.transforms.transform import Transform


class Planar(Transform):
    """`z = x + û tanh(wᵀ x + b + vᵀ c)`; `log_det = log(1 + wᵀû sech²(wᵀ x + b + vᵀ c))`.

    `û = u + (m(wᵀu) − wᵀu) w / ‖w‖²` with an increasing m above −0.999, so that `wᵀû > −1`, which
    is what makes the map invertible. The inverse solves the increasing equation
    `a + wᵀû tanh(a) = wᵀ z + b + vᵀ c` for one number by `invert_increasing`, up to `4 ε` of its
    value, ε the rounding unit. Its published use is `Inverse(Planar(…))`, from noise to samples.

    Source: Rezende, Mohamed, "Variational inference with normalizing flows", ICML 2015, arXiv
    1505.05770.

    Args:
      dim: D.
      context_size: width of the context c, 0 for none.
      rngs: draws w and u, the latter small.

    Attributes:
      weight, direction: w and u, `[D]`.
      bias: b, a scalar.
      context_weight: v, `[context_size]`, zero at the start, or None.

    Raises:
      ValueError: if D is not positive.
    """

    def __init__(self, dim: int, *, context_size: int = 0, rngs: nnx.Rngs):
        if dim < 1:
            raise ValueError(f"Planar got dim {dim}, expected at least 1.")
        self.event_shape, self.context_size = (dim,), context_size
        self.weight = nnx.Param(jax.random.normal(rngs.params(), (dim,)) / dim**0.5)
        self.direction = nnx.Param(0.01 * jax.random.normal(rngs.params(), (dim,)))
        self.bias = nnx.Param(jnp.zeros(()))
        self.context_weight = nnx.Param(jnp.zeros(context_size)) if context_size else None

    def _parameters(self, context):
        """w, û, their product, and the offset `b + vᵀ c: [...]`."""
        w, u = self.weight[...], self.direction[...]
        raw = w @ u
        product = positive(raw) - 1
        u = u + (product - raw) * w / jnp.maximum(w @ w, jnp.finfo(w.dtype).eps)
        return w, u, product, _offset("Planar", self.bias[...], self.context_weight, context)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        w, u, product, offset = self._parameters(context)
        t = jnp.tanh(x @ w + offset)
        return x + u * t[..., None], jnp.log1p(product * (1 - t * t))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        w, u, product, offset = self._parameters(context)

        def equation(a):
            t = jnp.tanh(a)
            return a + product * t, 1 + product * (1 - t * t)

        y = z @ w + offset
        t = jnp.tanh(invert_increasing(equation, y, *around(y, product)))
        return z - u * t[..., None], -jnp.log1p(product * (1 - t * t))


class RadialFlow(Transform):
    """`z = x + β (x − x_0) / (α + r)`, `r = ‖x − x_0‖`;
    `log_det = (D − 1) log(1 + β / (α + r)) + log(1 + α β / (α + r)²)`.

    α is positive and β above −0.999 α, which makes the map invertible, by a quadratic equation for
    r. Starts at the identity. Its published use is `Inverse(RadialFlow(…))`.

    Source: Rezende, Mohamed, "Variational inference with normalizing flows", ICML 2015, arXiv
    1505.05770.

    Args:
      dim: D.
      context_size: width of the context, on which the centre depends linearly, 0 for none.
      rngs: draws the centre x_0 from N(0, I).

    Attributes:
      center: x_0: `[D]`.
      log_scale, raw_strength: scalars, `log α`, and β before it is bounded.
      context_weight: `[context_size, D]`, zero at the start, or None.

    Raises:
      ValueError: if D is not positive.
    """

    def __init__(self, dim: int, *, context_size: int = 0, rngs: nnx.Rngs):
        if dim < 1:
            raise ValueError(f"RadialFlow got dim {dim}, expected at least 1.")
        self.event_shape, self.context_size = (dim,), context_size
        self.center = nnx.Param(jax.random.normal(rngs.params(), (dim,)))
        self.log_scale, self.raw_strength = nnx.Param(jnp.zeros(())), nnx.Param(jnp.zeros(()))
        self.context_weight = nnx.Param(jnp.zeros((context_size, dim))) if context_size else None

    def _parameters(self, context):
        alpha = jnp.exp(self.log_scale[...])
        beta = alpha * (positive(self.raw_strength[...]) - 1)
        return _offset("RadialFlow", self.center[...], self.context_weight, context), alpha, beta

    def _log_det(self, r, alpha, beta):
        h = 1 / (alpha + r)
        dim = self.event_shape[0]
        return (dim - 1) * jnp.log1p(beta * h) + jnp.log1p(alpha * beta * h * h)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        center, alpha, beta = self._parameters(context)
        difference = x - center
        r = _norm(difference)
        z = x + (beta / (alpha + r))[..., None] * difference
        return z, self._log_det(r, alpha, beta)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        center, alpha, beta = self._parameters(context)
        difference = z - center
        s = _norm(difference)
        # r² + (α + β − s) r − α s = 0, the root in the form that does not cancel.
        p = 0.5 * (s - alpha - beta)
        root = jnp.sqrt(p * p + alpha * s)
        r = jnp.where(p > 0, p + root, alpha * s / (root - jnp.minimum(p, 0)))
        x = center + difference / (1 + beta / (alpha + r))[..., None]
        return x, -self._log_det(r, alpha, beta)


def around(y: jax.Array, product: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Numbers below and above the solution a of `a + product · tanh(…) = y`, rounding included."""
    eps = jnp.finfo(y.dtype).eps
    reach = jnp.abs(product) * (1 + 8 * eps) + 8 * eps * jnp.abs(y)
    return y - reach, y + reach


def _offset(name: str, offset: jax.Array, weight: nnx.Param | None, context) -> jax.Array:
    if weight is None:
        return offset
    check_context(name, context, len(weight[...]))
    return offset + context @ weight[...]


def _norm(a: jax.Array) -> jax.Array:
    # The floor leaves the origin, where the norm has no derivative, a derivative of zero.
    return jnp.sqrt(jnp.maximum((a * a).sum(-1), jnp.finfo(a.dtype).tiny ** 0.5))
