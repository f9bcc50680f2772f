"""Orthogonal layers by matrix functions of a free parameter."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.variables import Constant
from flowzoo.transforms.linear.linear import Linear, initial_matrix

METHODS = ("cayley", "exponential", "newton_schulz")

# After n steps a singular value of s times the largest has become about min(1, 1.5ⁿ s), and then
# its distance from 1 is squared in each. 20 steps have double precision for condition numbers up to
# about 300, single precision for 500.
NEWTON_SCHULZ_STEPS = 20


class Orthogonal(Linear):
    """`z = Q x + b`, Q orthogonal; `log_det = 0`. The inverse is Qᵀ.

      cayley         `Q = Q_0 (I − A)(I + A)⁻¹`, A skew-symmetric: all rotations of Q_0 without the
                     eigenvalue −1. One solve of D × D.
      exponential    `Q = Q_0 exp(A)`, A skew-symmetric: all rotations of Q_0. About ten products of
                     D × D and one solve.
      newton_schulz  the orthogonal factor of `M = Q H`, H positive definite, by the iteration
                     `X ← X (3 I − Xᵀ X) / 2`: `NEWTON_SCHULZ_STEPS` times two products of D × D and
                     no solve. Where M is so ill-conditioned that these steps do not reach an
                     orthogonal matrix, `log_det` is `½ tr(Qᵀ Q − I)`, right to first order, and Qᵀ
                     is the inverse up to `‖Qᵀ Q − I‖`, which `orthogonality_error` tells.

    Q_0, a fixed orthogonal matrix, is the starting value, where A is zero.

    Sources: Lezcano-Casado, Martínez-Rubio, "Cheap orthogonal constraints in neural networks: a
    simple parametrization of the orthogonal and unitary group", ICML 2019, arXiv 1901.08428;
    Björck, Bowie, "An iterative algorithm for computing the best estimate of an orthogonal matrix",
    1971; van den Berg, Hasenclever, Tomczak, Welling, "Sylvester normalizing flows for variational
    inference", UAI 2018, arXiv 1803.05649, for the last in a flow.

    Args:
      dim: D.
      method: one of the above.
      init: `orthogonal` (a random rotation or reflection) or `identity`.
      use_bias: whether there is a b.
      rngs: draws the rotation.

    Attributes:
      weight: `[D, D]`: `A = weight − weightᵀ`, or M.
      start: Q_0: `[D, D]`, None for `newton_schulz`.

    Raises:
      ValueError: on an unknown method or init.
    """

    def __init__(
        self,
        dim: int,
        *,
        method: str = "cayley",
        init: str = "orthogonal",
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(dim, use_bias=use_bias)
        if method not in METHODS:
            raise ValueError(
                f"Orthogonal got method {method!r}, expected one of {', '.join(METHODS)}."
            )
        self.method = method
        start = initial_matrix(type(self).__name__, dim, init, rngs)
        free = method == "newton_schulz"
        self.weight = nnx.Param(start if free else jnp.zeros((dim, dim)))
        self.start = None if free else Constant(start)

    def orthogonal(self) -> jax.Array:
        """`Q: [D, D]`."""
        weight = self.weight[...]
        if self.method == "newton_schulz":
            return newton_schulz(weight)
        skew = weight - weight.T
        if self.method == "exponential":
            return self.start[...] @ jax.scipy.linalg.expm(skew)
        eye = jnp.eye(len(skew), dtype=skew.dtype)
        # The factors commute. I + A is never singular: A's eigenvalues are imaginary.
        return self.start[...] @ jnp.linalg.solve(eye + skew, eye - skew)

    def multiply(self, x):
        return x @ self.orthogonal().T

    def solve(self, y):
        return y @ self.orthogonal()

    def log_abs_det(self):
        if self.method != "newton_schulz":
            return jnp.zeros((), self.weight[...].dtype)
        return 0.5 * _excess(self.orthogonal()).trace()

    def orthogonality_error(self) -> jax.Array:
        """`‖Qᵀ Q − I‖_F`."""
        return jnp.linalg.norm(_excess(self.orthogonal()))


def _excess(q: jax.Array) -> jax.Array:
    return q.T @ q - jnp.eye(len(q), dtype=q.dtype)


def newton_schulz(m: jax.Array, num_steps: int = NEWTON_SCHULZ_STEPS) -> jax.Array:
    """The orthogonal factor Q of `m = Q H`, H positive definite, by products alone.

    Args:
      m: `[D, D]`, invertible.
      num_steps: of the iteration.
    """
    gram = m.T @ m
    # Between the largest singular value and D^(1/8) times it.
    square = gram @ gram
    bound = jnp.sqrt(jnp.sqrt(jnp.linalg.norm(square)))

    def step(x, _):
        return 1.5 * x - 0.5 * x @ (x.T @ x), None

    return jax.lax.scan(step, m / bound, None, length=num_steps)[0]
