"""Elementwise nonlinearities: increasing on the whole real line, inverted by Newton."""

from abc import abstractmethod

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.root_finding import invert_increasing
from flowzoo.numerics.shapes import sum_event
from flowzoo.numerics.smooth import positive, sigmoid_and_softplus
from flowzoo.transforms.transform import Transform


def smooth_leaky_relu(x: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """`σ(x) = α x + (1 − α) log(1 + e^x)` and `σ'(x) = α + (1 − α) sigmoid(x)`."""
    sigmoid, softplus = sigmoid_and_softplus(x)
    return alpha * x + (1 - alpha) * softplus, alpha + (1 - alpha) * sigmoid


def tanh_mix(x: jax.Array, alpha: float, beta: float) -> tuple[jax.Array, jax.Array]:
    """`σ(x) = tanh(α x) + β x` and `σ'(x) = α (1 − tanh²(α x)) + β`."""
    t = jnp.tanh(alpha * x)
    return t + beta * x, alpha * (1 - t) * (1 + t) + beta


class Elementwise(Transform):
    """`z_i = σ(x_i)` with an increasing σ; `log_det = Σ log σ'(x_i)`."""

    @abstractmethod
    def value_and_slope(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns `σ(x)` and `σ'(x)`, elementwise."""

    def value_and_log_slope(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns `σ(x)` and `log σ'(x)`, elementwise."""
        value, slope = self.value_and_slope(x)
        return value, jnp.log(slope)

    @abstractmethod
    def bracket(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns bounds `lower <= σ⁻¹(z) <= upper`, elementwise."""

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        z, log_slope = self.value_and_log_slope(x)
        return z, sum_event(log_slope, len(self.event_shape))

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = invert_increasing(self.value_and_slope, z, *self.bracket(z))
        log_slope = self.value_and_log_slope(x)[1]
        return x, -sum_event(log_slope, len(self.event_shape))


class SmoothLeakyReLU(Elementwise):
    """`σ(x) = α x + (1 − α) log(1 + e^x)`, slope α on the far left and 1 on the far right.

    With a center c it is `σ(x + c) − c`, which nears the identity as c grows: the same layers with
    other biases, but a start near the identity without large biases.

    Source: Gresele et al., "Relative gradient optimization of the Jacobian term in unsupervised
    deep learning", arXiv 2006.15090, equation 34.

    Raises:
      ValueError: unless 0 < α <= 1.
    """

    def __init__(self, event_shape: tuple[int, ...], *, alpha: float = 0.01, center: float = 0.0):
        if not 0 < alpha <= 1:
            raise ValueError(f"SmoothLeakyReLU got alpha {alpha}, expected 0 < alpha <= 1.")
        self.event_shape = tuple(event_shape)
        self.alpha, self.center = float(alpha), float(center)

    def value_and_slope(self, x):
        value, slope = smooth_leaky_relu(x + self.center, self.alpha)
        return value - self.center, slope

    def bracket(self, z):
        # max(x, 0) <= softplus(x) <= max(x, 0) + log 2 bounds σ by two leaky ReLUs.
        def leaky_inverse(y):
            return jnp.minimum(y, y / self.alpha)

        z = z + self.center
        margin = 1e-5 * (1 + jnp.abs(z)) / self.alpha
        lower = leaky_inverse(z - (1 - self.alpha) * jnp.log(2.0))
        return lower - margin - self.center, leaky_inverse(z) + margin - self.center


class LearnedSmoothLeakyReLU(Elementwise):
    """`σ(x) = α x + (β − α) log(1 + e^{κ (x − c)}) / κ`: slope α far left, β far right.

    Each coordinate has its own slopes α and β, center c and sharpness κ, all trained. Starts at the
    identity.

    Args:
      event_shape: shape of one `x`.
    """

    def __init__(self, event_shape: tuple[int, ...]):
        self.event_shape = tuple(event_shape)
        self.left = nnx.Param(jnp.zeros(self.event_shape))
        self.right = nnx.Param(jnp.zeros(self.event_shape))
        self.sharpness = nnx.Param(jnp.zeros(self.event_shape))
        self.center = nnx.Param(jnp.zeros(self.event_shape))

    def _parameters(self):
        raw = self.left[...], self.right[...], self.sharpness[...]
        return *(positive(a) for a in raw), self.center[...]

    def value_and_slope(self, x):
        left, right, sharpness, center = self._parameters()
        sigmoid, softplus = sigmoid_and_softplus(sharpness * (x - center))
        change = right - left
        return left * x + change * softplus / sharpness, left + change * sigmoid

    def bracket(self, z):
        # As above, σ lies within |β − α| log 2 / κ of a function of two straight pieces.
        left, right, sharpness, center = self._parameters()
        reach = jnp.abs(right - left) * jnp.log(2.0) / sharpness
        reach = reach + 1e-5 * (1 + jnp.abs(z))

        def two_pieces(y):
            rest = y - left * center
            return center + rest / jnp.where(rest < 0, left, right)

        return two_pieces(z - reach), two_pieces(z + reach)


class LearnedTanhMix(Elementwise):
    """`σ(x) = a tanh(κ (x − c)) / κ + b x`: slope a + b at the center c, b far away.

    Each coordinate has its own a, b, κ and c, all trained; a, b and κ are positive. Starts at
    a = 0.9, b = 0.1, c = 0: slope 1 at zero. It draws heavy tails in, for less time than a spline.

    Args:
      event_shape: shape of one `x`.
      sharpness: where κ starts; the smaller, the nearer to the identity.

    Raises:
      ValueError: unless the sharpness is positive.
    """

    def __init__(self, event_shape: tuple[int, ...], *, sharpness: float = 0.6):
        if not sharpness > 0:
            raise ValueError(f"LearnedTanhMix got sharpness {sharpness}, expected it above 0.")
        self.event_shape = tuple(event_shape)
        self.start = float(sharpness)
        self.height = nnx.Param(jnp.zeros(self.event_shape))
        self.tail = nnx.Param(jnp.zeros(self.event_shape))
        self.sharpness = nnx.Param(jnp.zeros(self.event_shape))
        self.center = nnx.Param(jnp.zeros(self.event_shape))

    def _parameters(self):
        raw = self.height[...], self.tail[...], self.sharpness[...]
        height, tail, sharpness = (positive(a) for a in raw)
        return 0.9 * height, 0.1 * tail, self.start * sharpness, self.center[...]

    def value_and_slope(self, x):
        height, tail, sharpness, center = self._parameters()
        t = jnp.tanh(sharpness * (x - center))
        return height / sharpness * t + tail * x, height * (1 - t) * (1 + t) + tail

    def bracket(self, z):
        height, tail, sharpness, _ = self._parameters()
        reach = height / sharpness + 1e-5 * (1 + jnp.abs(z))
        return (z - reach) / tail, (z + reach) / tail


class TanhMix(Elementwise):
    """`σ(x) = tanh(α x) + β x`, slope α + β at zero and β far away.

    Source: Gresele et al., arXiv 2006.15090, equation 35.

    Raises:
      ValueError: unless α and β are positive.
    """

    def __init__(self, event_shape: tuple[int, ...], *, alpha: float = 1.0, beta: float = 0.1):
        if not (alpha > 0 and beta > 0):
            raise ValueError(f"TanhMix got alpha {alpha} and beta {beta}, expected both above 0.")
        self.event_shape = tuple(event_shape)
        self.alpha, self.beta = float(alpha), float(beta)

    def value_and_slope(self, x):
        return tanh_mix(x, self.alpha, self.beta)

    def bracket(self, z):
        margin = 1e-5 * (1 + jnp.abs(z)) / self.beta
        return (z - 1) / self.beta - margin, (z + 1) / self.beta + margin
