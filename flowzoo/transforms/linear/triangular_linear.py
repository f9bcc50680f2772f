"""The linear layer whose matrix is triangular."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.transforms.linear.linear import Linear, solve_triangular


class TriangularLinear(Linear):
    """`z = T x + b`, T triangular with a positive diagonal; `log_det = Σ log T_ii`.

    Starts at the identity. It is the linear map that is autoregressive; one that is lower and one
    that is upper triangular make nearly every matrix of positive leading minors.

    Args:
      dim: D.
      lower: whether T is lower or upper triangular.
      use_bias: whether there is a b.

    Attributes:
      weight: `[D, D]`, of which the part on one side of the diagonal counts.
      log_diagonal: `[D]`.
    """

    def __init__(self, dim: int, *, lower: bool = True, use_bias: bool = True):
        super().__init__(dim, use_bias=use_bias)
        self.lower = bool(lower)
        self.weight = nnx.Param(jnp.zeros((dim, dim)))
        self.log_diagonal = nnx.Param(jnp.zeros(dim))

    def triangle(self) -> jax.Array:
        """`T: [D, D]`."""
        weight = self.weight[...]
        strict = jnp.tril(weight, -1) if self.lower else jnp.triu(weight, 1)
        return strict + jnp.diag(jnp.exp(self.log_diagonal[...]))

    def multiply(self, x):
        return x @ self.triangle().T

    def solve(self, y):
        return solve_triangular(self.triangle(), y, lower=self.lower)

    def log_abs_det(self):
        return self.log_diagonal[...].sum()
