"""Products of Householder reflections."""

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.transforms.linear.linear import INITS, Linear, solve_triangular


class Householder(Linear):
    """`z = H_1 … H_K x + b`, `H_k = I − 2 v_k v_kᵀ / ‖v_k‖²`; `log_det = 0`.

    The product is `I − V S⁻¹ Vᵀ` with V the vectors in columns and S the upper triangle of `Vᵀ V`,
    its diagonal halved: four products of B D K multiply-adds and one triangular solve, in place of
    K steps. D reflections make every orthogonal matrix.

    Sources: Tomczak, Welling, "Improving variational auto-encoders using Householder flow", arXiv
    1611.09630; Joffrain, Low, Quintana-Ortí, van de Geijn, Van Zee, "Accumulating Householder
    transformations, revisited", 2006, for the product.

    Args:
      dim: D.
      num_reflections: K; D if None, plus one where `init` is `identity` and D is odd.
      init: `orthogonal` (random vectors) or `identity` (pairs of equal vectors).
      use_bias: whether there is a b.
      rngs: draws the vectors.

    Attributes:
      vectors: `[K, D]`; their lengths do not matter.

    Raises:
      ValueError: on an unknown init, no reflection, or an odd number of them for the identity.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_reflections: int | None = None,
        init: str = "orthogonal",
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(dim, use_bias=use_bias)
        if init not in INITS:
            raise ValueError(f"Householder got init {init!r}, expected one of {', '.join(INITS)}.")
        paired = init == "identity"
        if num_reflections is None:
            num_reflections = dim + dim % 2 if paired else dim
        if num_reflections < 1 or (paired and num_reflections % 2):
            raise ValueError(
                f"Householder got num_reflections {num_reflections} with init {init!r}, expected "
                "at least 1, and an even number for the identity."
            )
        rows = num_reflections // 2 if paired else num_reflections
        vectors = jax.random.normal(rngs.params(), (rows, dim))
        self.vectors = nnx.Param(jnp.repeat(vectors, 2, 0) if paired else vectors)

    def _reflect(self, x: jax.Array, transposed: bool) -> jax.Array:
        vectors = self.vectors[...]
        # Unit vectors keep S near the identity; the floor keeps a zero vector from a NaN.
        squares = (vectors * vectors).sum(-1, keepdims=True)
        vectors = vectors * jax.lax.rsqrt(jnp.maximum(squares, jnp.finfo(vectors.dtype).eps ** 2))
        products = vectors @ vectors.T
        s = jnp.triu(products, 1) + 0.5 * jnp.eye(len(vectors), dtype=products.dtype)
        inner = solve_triangular(s, x @ vectors.T, trans=int(transposed))
        return x - inner @ vectors

    def multiply(self, x):
        return self._reflect(x, transposed=False)

    def solve(self, y):
        return self._reflect(y, transposed=True)

    def log_abs_det(self):
        return jnp.zeros((), self.vectors[...].dtype)
