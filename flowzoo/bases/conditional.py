"""Latents that are independent given an observed variable u: the bases of nonlinear ICA."""

from collections.abc import Callable, Sequence
import math

from flax import nnx
import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from flowzoo.bases.base import Base
from flowzoo.bases.factorial import HyperbolicSecant, Laplace, Logistic, StandardNormal
from flowzoo.context import ContextSpec, Labels
from flowzoo.nets.mlp import MLP
from flowzoo.numerics.shapes import check_context, check_event, sum_event
from flowzoo.numerics.smooth import bounded_log_scale

# Each as a density of the standardised coordinate `(z − μ) / σ`.
FAMILIES = {
    "normal": StandardNormal,
    "laplace": Laplace,
    "hyperbolic_secant": HyperbolicSecant,
    "logistic": Logistic,
}
GENERALIZED = "generalized_normal"
# exp(±1.5): exponents β from 0.45, far more peaked than Laplace, to 9, almost uniform.
LOG_EXPONENT_BOUND = 1.5


def generalized_normal(v: jax.Array, exponent: jax.Array) -> jax.Array:
    """`log β / (2 Γ(1/β)) − |v|^β`; β = 1 is Laplace, β = 2 the normal of variance 1/2.

    Args:
      v: `[..., D]`.
      exponent: β, `[D]`.
    """
    return jnp.log(exponent / 2) - gammaln(1 / exponent) - _power(jnp.abs(v), exponent)


def _power(size: jax.Array, exponent: jax.Array) -> jax.Array:
    """`|v|^β`, whose derivative in β, `|v|^β log|v|`, has the limit zero at zero."""
    return jnp.exp(exponent * jnp.log(jnp.maximum(size, jnp.finfo(size.dtype).tiny)))


class ScaleFamily(nnx.Module):
    """`p(z) = Π_i p_i((z_i − μ_i) / σ_i) / σ_i` for μ and σ that come from outside.

    Args:
      event_shape: shape of one `z`.
      family: `normal`, `laplace`, `hyperbolic_secant`, `logistic`, or `generalized_normal`, whose
        exponents β are trained, one for each coordinate, and start at the normal's 2.

    Raises:
      ValueError: if the family is unknown.
    """

    def __init__(self, event_shape: tuple[int, ...], family: str):
        if family not in (known := (*FAMILIES, GENERALIZED)):
            raise ValueError(f"The family is {family!r}, expected one of {', '.join(known)}.")
        self.family = family
        start = LOG_EXPONENT_BOUND * math.atanh(math.log(2) / LOG_EXPONENT_BOUND)
        generalized = family == GENERALIZED
        self.log_exponent = nnx.Param(jnp.full(event_shape, start)) if generalized else None

    def exponent(self) -> jax.Array:
        """β of the generalized normal, one for each coordinate."""
        raw = self.log_exponent[...]
        return jnp.exp(LOG_EXPONENT_BOUND * jnp.tanh(raw / LOG_EXPONENT_BOUND))

    def log_scale(self, v: jax.Array, average: Callable) -> jax.Array:
        """log σ of centred numbers `v: [N, D]`, from a function that takes their means over rows.

        The scale of the greatest likelihood for the normal, Laplace and the generalized normal, and
        that of the right variance for the others.
        """
        size = jnp.abs(v)
        if self.family == "laplace":
            return jnp.log(average(size))
        if self.family == GENERALIZED:
            exponent = self.exponent()
            return jnp.log(exponent * average(_power(size, exponent))) / exponent
        unit = math.pi / math.sqrt(3) if self.family == "logistic" else 1.0
        return 0.5 * jnp.log(average(v * v)) - math.log(unit)

    def log_density(self, z: jax.Array, mean: jax.Array, log_scale: jax.Array) -> jax.Array:
        """The log-density of each coordinate in nats; the arguments broadcast."""
        v = (z - mean) * jnp.exp(-log_scale)
        if self.family == GENERALIZED:
            return generalized_normal(v, self.exponent()) - log_scale
        return FAMILIES[self.family].log_density(v) - log_scale

    def draw(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draws with μ = 0 and σ = 1."""
        if self.family != GENERALIZED:
            return FAMILIES[self.family].draw(key, shape)
        return _draw(key, self.exponent(), shape)


def _draw(key: jax.Array, exponent: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws of the generalized normal: |v|^β is distributed as Gamma(1/β)."""
    size_key, sign_key = jax.random.split(key)
    power = jax.random.gamma(size_key, jnp.broadcast_to(1 / exponent, shape))
    return jax.random.rademacher(sign_key, shape) * power ** (1 / exponent)


# Rows of a class as wide as all classes are on average, by which its scale is never zero.
PRIOR_ROWS = 0.05


class ConditionalFactorial(Base):
    """`p(z | u) = Π_i p((z_i − μ_i(u)) / σ_i(u)) / σ_i(u)`: latents independent given u.

    Where u are class labels, μ and log σ are tables with a row for each class; where u are real
    features, they come from a small network. Both start at zero. In nonlinear ICA only the base
    sees u. Enough modulation then determines the transform up to permutation, sign and scale of the
    latents, if the scale of a normal varies; if only its mean does, up to a linear map.

    Args:
      event_shape: shape of one `z`.
      context: what u is.
      family: `normal`, `laplace`, `hyperbolic_secant`, `logistic`, or `generalized_normal`, whose
        exponent is trained for each coordinate.
      profile: of labels: whether the tables are not trained, but those of the latents themselves:
        means and scales of each class. In the mode `batch_statistics`, for training, they are those
        of the batch, and gradients flow through them: the transform then climbs the likelihood that
        has been maximised over the tables. Otherwise they are those that `update_statistics` found
        in a whole data set, like those of a `BatchNorm`.
      hidden_sizes: units of each hidden layer of the network of features.
      rngs: draws that network's weights.

    Attributes:
      batch_statistics, axis_name: modes, see `flowzoo.transforms.with_modes`.

    Raises:
      ValueError: if the family is unknown, there are real features and a profile or no rngs, or a
        call gets a context of another width.

    Source: equation 4 of Gresele, Fissore, Javaloy, Schölkopf, Hyvärinen, arXiv 2006.15090;
    Khemakhem, Kingma, Monti, Hyvärinen, "Variational autoencoders and nonlinear ICA: a unifying
    framework", arXiv 1907.04809; Hyvärinen, Sasaki, Turner, arXiv 1805.08651.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        context: ContextSpec,
        family: str = "normal",
        profile: bool = False,
        hidden_sizes: Sequence[int] = (32,),
        rngs: nnx.Rngs | None = None,
    ):
        self.event_shape = tuple(event_shape)
        self.context_size = context.size
        self.family = ScaleFamily(self.event_shape, family)
        self.profile = bool(profile)
        self.batch_statistics, self.axis_name = False, None
        if isinstance(context, Labels):
            kind = nnx.BatchStat if profile else nnx.Param
            shape = (context.num_classes, *self.event_shape)
            self.mean, self.log_scale = kind(jnp.zeros(shape)), kind(jnp.zeros(shape))
            self.net = None
            return
        if profile or rngs is None:
            raise ValueError(
                f"ConditionalFactorial got real features, profile {profile} and rngs {rngs}, "
                "expected no profile, which only class labels have, and rngs that draw the weights "
                "of the features' network."
            )
        self.mean = self.log_scale = None
        self.net = MLP(
            context.size,
            2 * math.prod(self.event_shape),
            hidden_sizes=hidden_sizes,
            activation="tanh",
            zero_output=True,
            rngs=rngs,
        )

    def parameters(self, context: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """μ(u) and log σ(u), `[..., *event_shape]`, of an encoded u, `[..., C]`."""
        check_context(type(self).__name__, context, self.context_size)
        if self.net is None:
            mean, log_scale = _rows((self.mean[...], self.log_scale[...]), context)
            return mean, log_scale if self.profile else bounded_log_scale(log_scale)
        outputs = self.net(context).reshape(*context.shape[:-1], 2, *self.event_shape)
        mean, log_scale = jnp.moveaxis(outputs, context.ndim - 1, 0)
        return mean, bounded_log_scale(log_scale)

    def log_prob(self, z, context=None):
        check_event(type(self).__name__, z, self.event_shape)
        check_context(type(self).__name__, context, self.context_size)
        if self.profile and self.batch_statistics:
            mean, log_scale = _rows(self._tables(z, context), context)
        else:
            mean, log_scale = self.parameters(context)
        log_density = self.family.log_density(z, mean, log_scale)
        return sum_event(log_density, len(self.event_shape))

    def sample(self, key, sample_shape=(), context=None):
        mean, log_scale = self.parameters(context)
        noise = self.family.draw(key, self.draw_shape(sample_shape, context))
        return mean + jnp.exp(log_scale) * noise

    def update_statistics(self, z: jax.Array, context: jax.Array | None = None) -> None:
        if self.profile:
            self.mean[...], self.log_scale[...] = self._tables(z, context)

    def _tables(self, z: jax.Array, context: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The mean and the log-scale of each class, `[C, *event_shape]`, in a batch of latents."""
        batch_shape = z.shape[: z.ndim - len(self.event_shape)]
        context = jnp.broadcast_to(context, (*batch_shape, self.context_size)).astype(z.dtype)
        context = context.reshape(-1, self.context_size)
        z = z.reshape(len(context), *self.event_shape)

        def total(a):
            a = jnp.tensordot(context.T, a, 1)
            return a if self.axis_name is None else jax.lax.psum(a, self.axis_name)

        rows = total(jnp.ones(z.shape, z.dtype))
        mean = total(z) / jnp.maximum(rows, 1)

        def average(a):
            a = total(a)
            return (a + PRIOR_ROWS * a.sum(0) / rows.sum(0)) / (rows + PRIOR_ROWS)

        (centre,) = _rows((mean,), context)
        return mean, self.family.log_scale(z - centre, average)


def _rows(tables: tuple[jax.Array, ...], context: jax.Array) -> tuple[jax.Array, ...]:
    """The rows of tables `[C, *event_shape]` that one-hot vectors `[..., C]` point at."""
    return tuple(jnp.tensordot(context, table, 1) for table in tables)
