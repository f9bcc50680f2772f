"""The linear layer that keeps its own LU factors."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.variables import Constant
from flowzoo.transforms.linear.linear import Linear, initial_matrix, solve_triangular


class PLU(Linear):
    """`z = P L (U + diag s) x + b`; `log_det = Σ log|s_i|`.

    P is a fixed permutation, L unit lower and U strictly upper triangular; the signs of s are fixed
    too. Every matrix that has the same P and signs is one of these, so training cannot change the
    sign of a pivot: a determinant keeps its sign, and so does every leading minor of `P⁻¹ W`.

    Source: Kingma, Dhariwal, "Glow: generative flow with invertible 1×1 convolutions", NeurIPS
    2018, arXiv 1807.03039.

    Args:
      dim: D.
      init: `orthogonal` (the factors of a random rotation) or `identity`.
      use_bias: whether there is a b.
      rngs: draws the rotation.

    Attributes:
      lower, upper: `[D, D]`, of which the parts below and above the diagonal count.
      log_diagonal: `[D]`, `log|s|`.
      sign: `[D]`, the signs of s.
      order: `[D]`, row i of `P y` is row `order[i]` of y.

    Raises:
      ValueError: on an unknown init.
    """

    def __init__(
        self, dim: int, *, init: str = "orthogonal", use_bias: bool = True, rngs: nnx.Rngs
    ):
        super().__init__(dim, use_bias=use_bias)
        weight = initial_matrix(type(self).__name__, dim, init, rngs)
        permutation, lower, upper = jax.scipy.linalg.lu(weight)
        diagonal = jnp.diagonal(upper)
        self.lower = nnx.Param(jnp.tril(lower, -1))
        self.upper = nnx.Param(jnp.triu(upper, 1))
        self.log_diagonal = nnx.Param(jnp.log(jnp.abs(diagonal)))
        self.sign = Constant(jnp.sign(diagonal))
        self.order = Constant(permutation.argmax(1).astype(jnp.int32))

    def _factors(self) -> tuple[jax.Array, jax.Array]:
        lower = jnp.tril(self.lower[...], -1)
        diagonal = self.sign[...] * jnp.exp(self.log_diagonal[...])
        eye = jnp.eye(len(diagonal), dtype=lower.dtype)
        return lower + eye, jnp.triu(self.upper[...], 1) + jnp.diag(diagonal)

    def multiply(self, x):
        lower, upper = self._factors()
        # One product with each event: for batches larger than D the cheaper order.
        return x @ (lower @ upper)[self.order[...]].T

    def solve(self, y):
        lower, upper = self._factors()
        y = y[..., jnp.argsort(self.order[...])]
        y = solve_triangular(lower, y, lower=True, unit_diagonal=True)
        return solve_triangular(upper, y)

    def log_abs_det(self):
        return self.log_diagonal[...].sum()
