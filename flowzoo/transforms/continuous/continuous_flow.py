"""Continuous flows: the solution of a differential equation whose right-hand side is a network."""

from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.mlp import MLP
from flowzoo.numerics.event_keys import event_keys
from flowzoo.numerics.shapes import check_context
from flowzoo.transforms.transform import Transform

GRADIENTS = ("discretised", "adjoint")


class ContinuousFlow(Transform):
    """`z = x(1)` where `x(0) = x` and `dx/dt = v(t, x, c)`; `log_det = ∫₀¹ tr ∂v/∂x dt`.

    v is a network with tanh units that sees t beside x, zero at the start, so that the flow starts
    as the identity. Both integrals are solved together, for each event with steps of its own, by
    Tsitouras' method of order 5: each step is so long that the estimate of its error in x and the
    log-determinant, by root mean square, is at most `τ (1 + |·|)`, but never below eight rounding
    units. The inverse solves the same equation from t = 1 back. Where 4,096 steps do not suffice,
    the result is NaN. Needs the extra `continuous`, diffrax.

    The trace is exact. Where v has one or two hidden layers, it costs about as much as v itself
    (`MLP.value_and_divergence`); where it has more, D products with the Jacobian. A copy from
    `with_log_det_estimates` has in its place Hutchinson's estimate `eᵀ (∂v/∂x) e`, e of random
    signs, for one product: the log-determinant is then an unbiased estimate, and no longer exact.

    Gradients are those of the steps that were taken (`discretised`), from a few of which the
    others are computed again; or those of the adjoint equation, solved backwards to the same
    tolerance (`adjoint`), which needs no memory for steps, is exact only up to the tolerance, and
    usually takes longer.

    Sources: Chen, Rubanova, Bettencourt, Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, arXiv 1806.07366; Grathwohl, Chen, Bettencourt, Sutskever, Duvenaud, "FFJORD",
    ICLR 2019, arXiv 1810.01367; Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow matching for generative
    modeling", ICLR 2023, arXiv 2210.02747, for `matching_loss`.

    Args:
      dim: D.
      hidden_sizes: units of each hidden layer of v.
      tolerance: τ.
      gradient: `discretised` or `adjoint`.
      context_size: width of the context, 0 for none.
      rngs: draws the weights.

    Attributes:
      net: v.
      noise_key: None, or the key of the estimates, as `with_log_det_estimates` sets it.

    Raises:
      ImportError: if diffrax is not installed.
      ValueError: if the tolerance is not positive or the rule of the gradient unknown.
    """

    estimates_log_det = True
    noise_key: nnx.Variable | None = None

    def __init__(
        self,
        dim: int,
        *,
        hidden_sizes: Sequence[int] = (64, 64),
        tolerance: float = 1e-5,
        gradient: str = "discretised",
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        _solver()
        if not 0 < tolerance < 1:
            raise ValueError(
                f"ContinuousFlow got tolerance {tolerance}, expected a number between 0 and 1."
            )
        if gradient not in GRADIENTS:
            raise ValueError(
                f"ContinuousFlow got gradient {gradient!r}, expected one of {', '.join(GRADIENTS)}."
            )
        self.event_shape, self.context_size = (dim,), context_size
        self.tolerance, self.gradient = float(tolerance), gradient
        self.net = MLP(
            dim + 1,
            dim,
            hidden_sizes=hidden_sizes,
            activation="tanh",
            context_size=context_size,
            zero_output=True,
            rngs=rngs,
        )

    def velocity(self, t: jax.Array, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """`v(t, x, c): [..., D]` of `t: [...]`, `x: [..., D]` and `context: [..., C]`."""
        return self.net(_beside(x, t), context)

    def matching_loss(
        self, x: jax.Array, z: jax.Array, t: jax.Array, context: jax.Array | None = None
    ) -> jax.Array:
        """`|v(t, (1 − t) x + t z, c) − (z − x)|²`, whose mean over data x, latents z and times t
        is least where v carries the data to the latents: flow matching along straight lines.

        Args:
          x: `[..., D]`, data.
          z: `[..., D]`, independent draws from the base.
          t: `[...]`, uniform in (0, 1).
          context: `[..., C]` or None.

        Returns:
          `[...]`.
        """
        at = (1 - t[..., None]) * x + t[..., None] * z
        return ((self.velocity(t, at, context) - (z - x)) ** 2).sum(-1)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._solve(x, context, 0.0, 1.0)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return self._solve(z, context, 1.0, 0.0)

    def _solve(self, x, context, start: float, end: float) -> tuple[jax.Array, jax.Array]:
        if self.context_size:
            check_context(type(self).__name__, context, self.context_size)
            shape = jnp.broadcast_shapes(x.shape[:-1], context.shape[:-1])
            context = jnp.broadcast_to(context, (*shape, context.shape[-1]))
            context = context.reshape(-1, context.shape[-1])
        else:
            context, shape = None, x.shape[:-1]
        dtype = jnp.result_type(x, *jax.tree.leaves(nnx.state(self.net)))
        (dim,) = self.event_shape
        x = jnp.broadcast_to(x, (*shape, dim)).reshape(-1, dim).astype(dtype)
        noise = None
        if self.noise_key is not None:
            keys = event_keys(jax.random.wrap_key_data(self.noise_key[...]), x)
            noise = jax.vmap(lambda key: jax.random.rademacher(key, (dim,), dtype))(keys)

        graph, state = nnx.split(self)
        divergence_weight = None if noise is not None else self.net.divergence_weight()

        def field(t, y, shared, own):
            (state, divergence_weight), (context, noise) = shared, own
            layer, x = nnx.merge(graph, state), y[0]
            if divergence_weight is not None:
                return layer.net.value_and_divergence(_beside(x, t), divergence_weight, context)
            v, product = jax.linearize(lambda x: layer.velocity(t, x, context), x)
            if noise is not None:
                return v, (noise * product(noise)).sum(-1)
            eye = jnp.eye(dim, dtype=x.dtype)
            columns = jax.vmap(lambda row: product(jnp.broadcast_to(row, x.shape)))(eye)
            return v, jnp.einsum("i...i->...", columns)

        solver = _solver()
        solve = {"discretised": solver.solve, "adjoint": solver.solve_by_adjoint}[self.gradient]
        tolerance = max(self.tolerance, 8 * float(jnp.finfo(dtype).eps))
        y = x, jnp.zeros(len(x), dtype)
        shared, own = (state, divergence_weight), (context, noise)
        z, log_det = solve(field, start, end, tolerance, y, shared, own)
        return z.reshape(*shape, dim), log_det.reshape(shape)


def _beside(x: jax.Array, t: jax.Array) -> jax.Array:
    """`[..., D + 1]`: `x: [..., D]` and the time `t: [...]`, which may be one for all."""
    t = jnp.broadcast_to(t, x.shape[:-1])[..., None].astype(x.dtype)
    return jnp.concatenate([x, t], -1)


def _solver():
    try:
        import diffrax  # noqa: F401
    except ImportError:
        raise ImportError(
            "ContinuousFlow needs diffrax, which is not installed: pip install "
            "'flowzoo[continuous]', or pip install diffrax."
        ) from None
    from flowzoo.transforms.continuous import solver

    return solver
