"""Linear layers that are made of an orthogonal one and what has a plain determinant."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.transforms.linear.householder import Householder
from flowzoo.transforms.linear.linear import Linear
from flowzoo.transforms.linear.orthogonal import METHODS, Orthogonal
from flowzoo.transforms.linear.triangular_linear import TriangularLinear

ORTHOGONAL = ("householder", *METHODS)


def orthogonal(dim: int, method: str, *, init: str, rngs: nnx.Rngs) -> Householder | Orthogonal:
    """An orthogonal layer without a bias, by one of the methods `ORTHOGONAL`.

    Raises:
      ValueError: if the method is unknown.
    """
    if method not in ORTHOGONAL:
        raise ValueError(
            f"The orthogonal method is {method!r}, expected one of {', '.join(ORTHOGONAL)}."
        )
    if method == "householder":
        return Householder(dim, init=init, use_bias=False, rngs=rngs)
    return Orthogonal(dim, method=method, init=init, use_bias=False, rngs=rngs)


class QR(Linear):
    """`z = Q R x + b`, Q orthogonal, R upper triangular with a positive diagonal;
    `log_det = Σ log R_ii`. Every invertible matrix has such factors.

    Source: Hoogeboom, van den Berg, Welling, "Emerging convolutions for generative normalizing
    flows", ICML 2019, arXiv 1901.11137.

    Args:
      dim: D.
      method: how Q is made: `householder`, or one of `Orthogonal`'s.
      init: of Q, `orthogonal` or `identity`; R starts at the identity.
      use_bias: whether there is a b.
      rngs: draws Q.
    """

    def __init__(
        self,
        dim: int,
        *,
        method: str = "householder",
        init: str = "orthogonal",
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(dim, use_bias=use_bias)
        self.q = orthogonal(dim, method, init=init, rngs=rngs)
        self.r = TriangularLinear(dim, lower=False, use_bias=False)

    def multiply(self, x):
        return self.q.multiply(self.r.multiply(x))

    def solve(self, y):
        return self.r.solve(self.q.solve(y))

    def log_abs_det(self):
        return self.r.log_abs_det() + self.q.log_abs_det()


class SVD(Linear):
    """`z = Q_1 diag(s) Q_2 x + b`, Q_1 and Q_2 orthogonal, s positive; `log_det = Σ log s_i`.

    Every invertible matrix has such factors; its condition number is that of s.

    Source: Zhang, Lei, Dhillon, "Stabilizing gradients for deep neural networks via efficient SVD
    parameterization", ICML 2018, arXiv 1803.09327.

    Args:
      dim: D.
      method: how the orthogonal factors are made: `householder`, or one of `Orthogonal`'s.
      init: of both, `orthogonal` or `identity`; s starts at one.
      use_bias: whether there is a b.
      rngs: draws the orthogonal factors.

    Attributes:
      log_scale: `[D]`, `log s`.
    """

    def __init__(
        self,
        dim: int,
        *,
        method: str = "householder",
        init: str = "orthogonal",
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(dim, use_bias=use_bias)
        self.left = orthogonal(dim, method, init=init, rngs=rngs)
        self.right = orthogonal(dim, method, init=init, rngs=rngs)
        self.log_scale = nnx.Param(jnp.zeros(dim))

    def multiply(self, x):
        return self.left.multiply(jnp.exp(self.log_scale[...]) * self.right.multiply(x))

    def solve(self, y):
        return self.right.solve(jnp.exp(-self.log_scale[...]) * self.left.solve(y))

    def log_abs_det(self) -> jax.Array:
        terms = self.left.log_abs_det() + self.right.log_abs_det()
        return self.log_scale[...].sum() + terms
