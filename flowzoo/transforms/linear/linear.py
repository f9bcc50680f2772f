"""What linear layers have in common whose parameters say the determinant."""

from abc import abstractmethod

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.transforms.transform import Transform

INITS = ("identity", "orthogonal")


class Linear(Transform):
    """`z = W x + b`; `log_det = log|det W|`. Subclasses say what W is and how to solve with it.

    Args:
      dim: D.
      use_bias: whether there is a b, which starts at zero.

    Attributes:
      bias: `[D]` or None.

    Raises:
      ValueError: if D is not positive.
    """

    def __init__(self, dim: int, *, use_bias: bool = True):
        if dim < 1:
            raise ValueError(f"{type(self).__name__} got dim {dim}, expected at least 1.")
        self.event_shape = (dim,)
        self.bias = nnx.Param(jnp.zeros(dim)) if use_bias else None

    @abstractmethod
    def multiply(self, x: jax.Array) -> jax.Array:
        """`W x: [..., D]` of `x: [..., D]`."""

    @abstractmethod
    def solve(self, y: jax.Array) -> jax.Array:
        """`W⁻¹ y: [..., D]` of `y: [..., D]`."""

    @abstractmethod
    def log_abs_det(self) -> jax.Array:
        """`log|det W|`, a scalar."""

    def matrix(self) -> jax.Array:
        """`W: [D, D]`, (out, in)."""
        (dim,) = self.event_shape
        return self.multiply(jnp.eye(dim)).T

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        z = self.multiply(x)
        if self.bias is not None:
            z = z + self.bias[...]
        return z, self.for_each_event(self.log_abs_det(), z)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = self.solve(z if self.bias is None else z - self.bias[...])
        return x, self.for_each_event(-self.log_abs_det(), x)


def initial_matrix(name: str, dim: int, init: str, rngs: nnx.Rngs) -> jax.Array:
    """What W starts at, `[D, D]`: the identity, or a random rotation or reflection.

    Raises:
      ValueError: if `init` is neither `identity` nor `orthogonal`; the sentence names `name`.
    """
    if init not in INITS:
        raise ValueError(f"{name} got init {init!r}, expected one of {', '.join(INITS)}.")
    if init == "identity":
        return jnp.eye(dim)
    return jax.nn.initializers.orthogonal()(rngs.params(), (dim, dim))


def solve_triangular(matrix: jax.Array, y: jax.Array, **options) -> jax.Array:
    """`T⁻¹ y: [..., D]` of a triangular `T: [D, D]` and `y: [..., D]`."""
    columns = y.reshape(-1, y.shape[-1]).T
    return jax.scipy.linalg.solve_triangular(matrix, columns, **options).T.reshape(y.shape)
