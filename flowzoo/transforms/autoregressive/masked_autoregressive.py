"""Autoregressive transforms: each coordinate is mapped by what the ones before it say."""

from abc import abstractmethod
from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.masked_mlp import MaskedMLP
from flowzoo.numerics.root_finding import iterate, solve_unit_triangular
from flowzoo.numerics.smooth import bounded_log_scale, clipped
from flowzoo.transforms.transform import Transform

INVERSE_METHODS = ("sequential", "fixed_point")


class Autoregressive(Transform):
    """`z_i = τ(x_i; y_i(x_0 … x_{i−1}, c))`, τ increasing in x_i; `log_det = Σ log τ'`.

    Subclasses give τ and its inverse; the outputs y come from a `MaskedMLP`. The inverse is

      sequential   `x_i = τ⁻¹(z_i; y_i)` for i = 0 … D − 1. Hidden units are computed once, when
                   their inputs are ready: the work of about one forward pass.
      fixed_point  `x ← τ⁻¹(z; y(x))` for all coordinates at once (Jacobi), until no coordinate
                   changes by more than `4 ε max(1, |x|)`, ε the rounding unit, or after D sweeps:
                   sweep i makes x_0 … x_{i−1} exact. Few large steps, for accelerators.

    Both carry derivatives by the implicit function theorem.

    With guidance w, a mode, y is `y(∅) + (1 + w) (y(c) − y(∅))` both ways, where the context ∅ is
    zeros, as of a left out label: an autoregressive map too, whose samples are more typical of c.

    Args:
      dim: D.
      num_outputs: k, parameters of τ for each coordinate.
      hidden_sizes, activation, degrees, residual, context_size, input_bound: of the `MaskedMLP`.
      inverse_method: `sequential` or `fixed_point`; may be assigned to later.
      rngs: draws weights and random degrees.

    Attributes:
      guidance: a mode, w; see `flowzoo.transforms.guided`. None for no guidance.

    Raises:
      ValueError: if an option is unknown or `MaskedMLP` refuses one.
    """

    guidance: float | None = None

    def __init__(
        self,
        dim: int,
        num_outputs: int,
        *,
        hidden_sizes: Sequence[int] = (512,),
        activation: str = "relu",
        degrees: str | Sequence[Sequence[int]] = "sequential",
        residual: bool = False,
        context_size: int = 0,
        input_bound: float | None = None,
        inverse_method: str = "sequential",
        rngs: nnx.Rngs,
    ):
        self._set(dim, context_size, inverse_method)
        self.net = MaskedMLP(
            dim,
            num_outputs,
            hidden_sizes=hidden_sizes,
            activation=activation,
            degrees=degrees,
            residual=residual,
            context_size=context_size,
            input_bound=input_bound,
            rngs=rngs,
        )

    def _set(self, dim: int, context_size: int, inverse_method: str) -> None:
        """All but the network, for subclasses that have another one."""
        if inverse_method not in INVERSE_METHODS:
            raise ValueError(
                f"inverse_method is {inverse_method!r}, expected one of "
                f"{', '.join(INVERSE_METHODS)}."
            )
        self.event_shape = (dim,)
        self.context_size = context_size
        self.inverse_method = inverse_method

    @abstractmethod
    def value_and_log_slope(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`τ(x; y)` and `log τ'(x; y)`, `[..., D]`, of `x: [..., D]` and `y: [..., k, D]`."""

    @abstractmethod
    def invert(self, z: jax.Array, y: jax.Array) -> jax.Array:
        """`τ⁻¹(z; y): [..., D]` of `z: [..., D]` and `y: [..., k, D]`."""

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._forward(x, context)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = self._inverse(z, context)
        return x, -self._forward(x, context)[1]

    # Programs of their own: outside jit, a scan would be compiled anew at every call.
    @jax.jit
    def _forward(self, x, context):
        z, log_slope = self.value_and_log_slope(x, self._outputs(x, context))
        return z, log_slope.sum(-1)

    @jax.jit
    def _inverse(self, z, context):
        if self.context_size and context is not None:
            batch_shape = jnp.broadcast_shapes(z.shape[:-1], context.shape[:-1])
            z = jnp.broadcast_to(z, batch_shape + self.event_shape)

        def residual(x):
            value, log_slope = self.value_and_log_slope(x, self._outputs(x, context))
            # Divided by the slope, the residual's Jacobian has ones on its diagonal.
            return (value - z) * jnp.exp(-jax.lax.stop_gradient(log_slope))

        def solve(_, start):
            if self.inverse_method == "sequential":
                x = self._generate(z, context)
            else:
                x = iterate(lambda x: self.invert(z, self._outputs(x, context)), start)
            return x.astype(start.dtype)

        dtype = jax.eval_shape(residual, z).dtype
        return jax.lax.custom_root(residual, z.astype(dtype), solve, solve_unit_triangular)

    def _outputs(self, x, context):
        if self.guidance is None or not self.context_size:
            return self.net(x, context)
        return self._guided(self.net(x, context), self.net(x, jnp.zeros_like(context)))

    def _generate(self, z, context):
        if self.guidance is None or not self.context_size:
            return self.net.generate(lambda y, z: self.invert(z, y), (z,), context)
        # Both contexts side by side make the same x.
        context = jnp.broadcast_to(context, (*z.shape[:-1], self.context_size))

        def step(y, z):
            x = self.invert(jnp.split(z, 2)[0], self._guided(*jnp.split(y, 2, -1)))
            return jnp.concatenate([x, x])

        contexts = jnp.stack([context, jnp.zeros_like(context)])
        return self.net.generate(step, (jnp.stack([z, z]),), contexts)[0]

    def _guided(self, given, without):
        return without + (1 + self.guidance) * (given - without)


class MaskedAutoregressive(Autoregressive):
    """`z_i = (x_i − μ_i(x_0 … x_{i−1}, c)) exp(−α_i(x_0 … x_{i−1}, c))`; `log_det = −Σ α_i`.

    The log-scales α are smoothly bounded by ±`LOG_SCALE_BOUND`. The inverse autoregressive flow of
    Kingma et al., "Improving variational inference with inverse autoregressive flow", arXiv
    1606.04934, is `Inverse(MaskedAutoregressive(…))`: its samples take one pass.

    Source: Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density estimation",
    arXiv 1705.07057.

    Args:
      dim: D.
      **options: those of `Autoregressive`.

    Attributes:
      inverse_bound: a mode, what the inverse clips x to; see `flowzoo.transforms.with_modes`.

    Example:
      >>> from flax import nnx
      >>> import jax
      >>> from flowzoo.transforms import MaskedAutoregressive
      >>> layer = MaskedAutoregressive(3, hidden_sizes=(16,), rngs=nnx.Rngs(0))
      >>> z, log_det = layer.forward_and_log_det(jax.numpy.ones((5, 3)))
      >>> z.shape, log_det.shape
      ((5, 3), (5,))
    """

    inverse_bound: float | None = None

    def __init__(self, dim: int, *, rngs: nnx.Rngs, **options):
        super().__init__(dim, 2, rngs=rngs, **options)

    def value_and_log_slope(self, x, y):
        alpha = bounded_log_scale(y[..., 1, :])
        return (x - y[..., 0, :]) * jnp.exp(-alpha), -alpha

    def invert(self, z, y):
        x = z * jnp.exp(bounded_log_scale(y[..., 1, :])) + y[..., 0, :]
        return clipped(x, self.inverse_bound)
