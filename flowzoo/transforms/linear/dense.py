"""The fully connected layer."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.relative.fused import affine, check_rule, log_abs_det
from flowzoo.transforms.transform import Transform

INITS = ("orthogonal", "identity")


class Dense(Transform):
    """`z = W x + b`; `log_det = log|det W|`. W is any invertible matrix.

    The inverse factors W once per call, however large the batch. `factored` keeps that
    factorisation for many calls.

    Args:
      dim: D.
      use_bias: whether there is a b.
      init: `orthogonal` (a random rotation) or `identity` (the identity plus noise of spectral norm
        about 0.02); the bias starts at zero.
      rngs: draws the initial weight.

    Attributes:
      weight: `[D, D]`, (out, in).
      bias: `[D]` or None.
      gradient_rule: how `jax.grad` differentiates the layer, `ordinary` unless
        `with_gradient_rule` made this copy; see `flowzoo.relative.fused`.
      log_det_count: how often `log|det W|` counts per event; a layer that a convolution applies to
        every pixel says so here.
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
        self.log_det_count = 1
        self.factors = nnx.data(None)

    @property
    def parameters(self) -> tuple[jax.Array, jax.Array | None]:
        """The arrays `(weight, bias)`."""
        return self.weight[...], None if self.bias is None else self.bias[...]

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        weight, bias = self.parameters
        if self.factors is None:
            log_det = log_abs_det(weight, bias, self.gradient_rule)
        else:
            log_det = _factors_log_det(self.factors[0])
        z = affine(x, weight, bias, self.gradient_rule)
        return z, jnp.broadcast_to(log_det, x.shape[:-1]).astype(z.dtype)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        weight, bias = self.parameters
        factors = self.factors or jax.scipy.linalg.lu_factor(weight)
        y = z if bias is None else z - bias
        x = jax.scipy.linalg.lu_solve(factors, y.reshape(-1, y.shape[-1]).T).T.reshape(y.shape)
        log_det = -_factors_log_det(factors[0])
        return x, jnp.broadcast_to(log_det, z.shape[:-1]).astype(x.dtype)


def _factors_log_det(lu: jax.Array) -> jax.Array:
    return jnp.log(jnp.abs(jnp.diagonal(lu))).sum()


def dense_layers(module: nnx.Module) -> dict[tuple[str | int, ...], Dense]:
    """All `Dense` layers inside a module, by path."""
    return {path: m for path, m in nnx.iter_modules(module) if isinstance(m, Dense)}


def log_det_counts(module: nnx.Module) -> dict[str, float]:
    """How often the log-determinant of each `Dense` layer counts, by the path of its weight.

    A layer inside a convolution counts once for every pixel, all others once.
    """
    return {
        "/".join(map(str, (*path, "weight"))): float(layer.log_det_count)
        for path, layer in dense_layers(module).items()
    }


def with_gradient_rule(module, rule: str):
    """A copy of `module` whose `Dense` layers are differentiated by `rule`.

    The copy computes the same values; only its gradients in the layers' weights and biases differ.

    Raises:
      ValueError: if the rule is unknown.
    """
    check_rule(rule)
    module = nnx.clone(module)
    for layer in dense_layers(module).values():
        layer.gradient_rule = rule
    return module


def factored(module):
    """A copy of `module` whose `Dense` layers hold their LU factors.

    For likelihoods and samples in many calls with the same parameters: each W is factored here,
    once. The copy is neither to be trained nor saved.
    """
    module = nnx.clone(module)
    for layer in dense_layers(module).values():
        layer.factors = nnx.data(jax.scipy.linalg.lu_factor(layer.weight[...]))
    return module


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
