"""Sylvester flows: planar flows in several directions at once."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.root_finding import invert_increasing, iterate, solve_unit_triangular
from flowzoo.numerics.shapes import check_context
from flowzoo.transforms.linear.householder import Householder
from flowzoo.transforms.residual.planar import around
from flowzoo.transforms.transform import Transform

# Of the diagonals of R and R̃: their products stay above −1, as the inverse asks.
DIAGONAL_BOUND = 0.999


class Sylvester(Transform):
    """`z = x + Q R tanh(R̃ Qᵀ x + b + V c)`; `log_det = Σ_i log(1 + R_ii R̃_ii tanh'(…)_i)`.

    Q has M orthonormal columns, those of a product of Householder reflections, R and R̃ are upper
    triangular and M × M. The inverse solves for the M numbers Qᵀ x, one after the other from the
    last, each by `invert_increasing`, up to `4 ε`, ε the rounding unit; what that error becomes in
    x depends on how near to −1 the products of the diagonals come. Its published use is
    `Inverse(Sylvester(…))`.

    Source: van den Berg, Hasenclever, Tomczak, Welling, "Sylvester normalizing flows for
    variational inference", UAI 2018, arXiv 1803.05649, the variant with Householder reflections.

    Args:
      dim: D.
      rank: M, at most D; D if None.
      num_reflections: of Q.
      context_size: width of the context c, 0 for none.
      rngs: draws Q and small starting values of R and R̃.

    Attributes:
      outer, inner: R and R̃: `[M, M]`, of which the parts above the diagonals count.
      outer_diagonal, inner_diagonal: `[M]`, before they are bounded by a tanh.
      bias: `[M]`.
      context_weight: Vᵀ: `[context_size, M]`, zero at the start, or None.

    Raises:
      ValueError: unless `1 <= M <= D`, or if there is no reflection.
    """

    def __init__(
        self,
        dim: int,
        *,
        rank: int | None = None,
        num_reflections: int = 8,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        rank = dim if rank is None else rank
        if not 1 <= rank <= dim:
            raise ValueError(f"Sylvester got rank {rank}, expected 1 to {dim}.")
        self.event_shape, self.context_size = (dim,), context_size
        self.q = Householder(dim, num_reflections=num_reflections, use_bias=False, rngs=rngs)

        def draw(*shape):
            return nnx.Param(0.1 * jax.random.normal(rngs.params(), shape))

        self.outer, self.inner = draw(rank, rank), draw(rank, rank)
        self.outer_diagonal, self.inner_diagonal = draw(rank), draw(rank)
        self.bias = nnx.Param(jnp.zeros(rank))
        self.context_weight = nnx.Param(jnp.zeros((context_size, rank))) if context_size else None

    def _parameters(self, context):
        """The parts of R and R̃ above the diagonal, their diagonals, and the offset `[..., M]`."""
        strict = jnp.triu(self.outer[...], 1), jnp.triu(self.inner[...], 1)
        diagonals = (
            DIAGONAL_BOUND * jnp.tanh(a[...]) for a in (self.outer_diagonal, self.inner_diagonal)
        )
        offset = self.bias[...]
        if self.context_weight is not None:
            check_context(type(self).__name__, context, self.context_size)
            offset = offset + context @ self.context_weight[...]
        return *strict, *diagonals, offset

    def _inside(self, x: jax.Array) -> jax.Array:
        """`Qᵀ x: [..., M]`."""
        return self.q.solve(x)[..., : self.bias.shape[0]]

    def _outside(self, v: jax.Array) -> jax.Array:
        """`Q v: [..., D]`."""
        padding = [(0, 0)] * (v.ndim - 1) + [(0, self.event_shape[0] - v.shape[-1])]
        return self.q.multiply(jnp.pad(v, padding))

    def _bend(self, v: jax.Array, context):
        """`R tanh(R̃ v + …)` and the log-determinant."""
        outer, inner, outer_diagonal, inner_diagonal, offset = self._parameters(context)
        t = jnp.tanh(v @ inner.T + v * inner_diagonal + offset)
        log_det = jnp.log1p(outer_diagonal * inner_diagonal * (1 - t * t)).sum(-1)
        return t @ outer.T + t * outer_diagonal, log_det

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        bend, log_det = self._bend(self._inside(x), context)
        return x + self._outside(bend), log_det

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        v = self._solve(self._inside(z), context)
        bend, log_det = self._bend(v, context)
        return z - self._outside(bend), -log_det

    def _solve(self, target: jax.Array, context) -> jax.Array:
        """The `v: [..., M]` with `v + R tanh(R̃ v + …) = target`.

        In reverse order, where `iterate` and `solve_unit_triangular` want their dependence.
        """
        outer, inner, outer_diagonal, inner_diagonal, offset = self._parameters(context)
        shape = jnp.broadcast_shapes(target.shape, offset.shape)
        target, offset = jnp.broadcast_to(target, shape), jnp.broadcast_to(offset, shape)

        def sweep(flipped, outer, inner, outer_diagonal, inner_diagonal, offset, target):
            v = flipped[..., ::-1]
            before = v @ inner.T + offset
            rest = target - jnp.tanh(before + v * inner_diagonal) @ outer.T

            def equation(a):
                t = jnp.tanh(inner_diagonal * a + before)
                slope = 1 + outer_diagonal * inner_diagonal * (1 - t * t)
                return a + outer_diagonal * t, slope

            return invert_increasing(equation, rest, *around(rest, outer_diagonal))[..., ::-1]

        parameters = outer, inner, outer_diagonal, inner_diagonal, offset, target

        def residual(flipped):
            # v − sweep(v): as a function of v, the identity minus a strictly triangular map.
            return flipped - sweep(flipped, *parameters)

        fixed = jax.lax.stop_gradient(parameters)

        def solve(_, start):
            return iterate(lambda flipped: sweep(flipped, *fixed), start)

        start = jnp.zeros(shape, jnp.result_type(*parameters))
        solution = jax.lax.custom_root(residual, start, solve, solve_unit_triangular)
        return solution[..., ::-1]
