"""The fully connected layer."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.relative.backwards import OTHER_SIDE, inverse_affine
from flowzoo.relative.fused import affine, log_abs_det
from flowzoo.transforms.transform import Transform

INITS = ("orthogonal", "identity")


class Dense(Transform):
    """`z = W x + b`; `log_det = log|det W|`. W is any invertible matrix.

    The inverse factors W once per call, however large the batch.

    Args:
      dim: D.
      use_bias: whether there is a b.
      init: `orthogonal` (a random rotation) or `identity` (the identity plus noise of spectral norm
        about 0.02); the bias starts at zero.
      rngs: draws the initial weight.

    Attributes:
      weight: `[D, D]`, (out, in).
      bias: `[D]` or None.
      gradient_rule: a mode, how `jax.grad` differentiates the layer, forwards and backwards; see
        `flowzoo.relative.fused` and `flowzoo.relative.backwards`.
    """

    def __init__(
        self, dim: int, *, use_bias: bool = True, init: str = "orthogonal", rngs: nnx.Rngs
    ):
        if init not in INITS:
            raise ValueError(f"Dense got init {init!r}, expected one of {', '.join(INITS)}.")
        self.event_shape = (dim,)
        if init == "orthogonal":
            weight = jax.nn.initializers.orthogonal()(rngs.params(), (dim, dim))
        else:
            noise = jax.random.normal(rngs.params(), (dim, dim))
            weight = jnp.eye(dim) + 0.01 * noise / jnp.sqrt(dim)
        self.weight = nnx.Param(weight)
        self.bias = nnx.Param(jnp.zeros(dim)) if use_bias else None
        self.gradient_rule = "ordinary"
        self.factors = nnx.data(None)

    @property
    def parameters(self) -> tuple[jax.Array, jax.Array | None]:
        """The arrays `(weight, bias)`."""
        return self.weight[...], None if self.bias is None else self.bias[...]

    @property
    def factored(self) -> bool:
        """A mode: whether W's LU factors are kept; see `flowzoo.transforms.with_modes`."""
        return self.factors is not None

    @factored.setter
    def factored(self, keep: bool) -> None:
        factors = jax.scipy.linalg.lu_factor(self.weight[...]) if keep else None
        self.factors = nnx.data(factors)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        weight, bias = self.parameters
        lu = self.factors[0] if self.factored else None
        log_det = log_abs_det(weight, bias, self.gradient_rule, lu)
        z = affine(x, weight, bias, self.gradient_rule)
        return z, self.for_each_event(log_det, z)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        weight, bias = self.parameters
        factors = self.factors or jax.scipy.linalg.lu_factor(weight)
        rule = self.gradient_rule
        x = inverse_affine(z, weight, bias, factors, rule)
        log_det = -log_abs_det(weight, bias, OTHER_SIDE.get(rule, rule), factors[0])
        return x, self.for_each_event(log_det, x)


def dense_layers(module: nnx.Module) -> dict[tuple[str | int, ...], Dense]:
    """All `Dense` layers inside a module, by path."""
    return {path: m for path, m in nnx.iter_modules(module) if isinstance(m, Dense)}


def dense_weights(module: nnx.Module) -> list[str]:
    """The paths of the weights of all `Dense` layers inside a module."""
    return ["/".join(map(str, (*path, "weight"))) for path in dense_layers(module)]


def check_invertible(module) -> None:
    """Raises ValueError, naming the layer, if some W is singular or not finite."""
    for path, layer in dense_layers(module).items():
        weight = np.asarray(layer.weight[...], np.float64)
        if not np.all(np.isfinite(weight)):
            raise ValueError(f"The weight of {_name(path)} holds NaN or infinity.")
        condition = np.max(np.linalg.cond(weight))  # of the layers of a `Stack`
        if not condition < 1 / np.finfo(np.float32).eps ** 2:
            raise ValueError(
                f"The weight of {_name(path)} is singular (condition number {condition:.3g}), but "
                "a flow's layers must be invertible; initialise it again or load another "
                "checkpoint."
            )


def _name(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path)) or "the layer"
