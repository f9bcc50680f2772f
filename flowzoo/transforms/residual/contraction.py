"""Invertible residual blocks: the identity plus a contraction."""

from collections.abc import Callable, Sequence
import itertools

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.event_keys import event_keys
from flowzoo.numerics.root_finding import solve_by_sweeps
from flowzoo.numerics.shapes import check_context
from flowzoo.transforms.transform import Transform

# Enough for double precision at a Lipschitz constant of 0.98.
MAX_STEPS = 2000
# Of the series of a log-determinant, the terms that every estimate has.
EXACT_TERMS = 4


class ResidualBlock(Transform):
    """`z = x + g(x, c)`, g a network of Lipschitz constant at most κ < 1 in x;
    `log_det = log det(I + ∂g/∂x)`.

    `g = W_L a(W_{L−1} … a(W_1 x + V c + b_1) …) + b_L` with `a(u) = u sigmoid(u) / 1.1`, which is a
    contraction; each W is divided by what its spectral norm exceeds `κ^(1/L)` by. The norm is the
    exact one, of an eigendecomposition, so that the bound holds in every step of training, where
    power iteration would approach it from below.

    The log-determinant is exact, of the D × D Jacobian of each event, at the cost of D passes and
    D³: meant for D up to about 64. For more, a copy from `with_log_det_estimates` has an unbiased
    estimate of it, and no longer the exact one: of the series `Σ_k (−1)^(k+1)/k tr (∂g/∂x)^k` a
    random number N of terms, each divided by the probability of coming so far, and of each trace
    Hutchinson's estimate. `P(N ≥ k) = κ^(2(k−4))` from k = 4 on: N has the mean `3 + 1/(1−κ²)`,
    20 for κ = 0.97, is the same for all events, and leaves the variance finite whatever g is. Its
    gradients are unbiased as well, and need no memory for the terms.

    The inverse is the fixed point of `x ← z − g(x)`, iterated until no coordinate changes by more
    than `4 ε max(1, |x|)`, ε the rounding unit; its distance from the exact one is at most
    `κ / (1 − κ)` times that. Gradients follow the implicit function theorem.

    Sources: Behrmann, Grathwohl, Chen, Duvenaud, Jacobsen, "Invertible residual networks", ICML
    2019, arXiv 1811.00995; Chen, Behrmann, Duvenaud, Jacobsen, "Residual flows for invertible
    generative modeling", NeurIPS 2019, arXiv 1906.02735, for the nonlinearity and the estimates,
    there with P(N ≥ k) halved from term to term, for whose variance no bound is known near κ = 1.

    Args:
      dim: D.
      hidden_sizes: units of each hidden layer.
      lipschitz: κ.
      context_size: width of the context, 0 for none.
      rngs: draws the weights; W_L starts small.

    Attributes:
      noise_key: None, or the key of the estimates, as `with_log_det_estimates` sets it.

    Raises:
      ValueError: unless there are hidden units and `0 < κ < 1`.
    """

    estimates_log_det = True
    noise_key: nnx.Variable | None = None

    def __init__(
        self,
        dim: int,
        *,
        hidden_sizes: Sequence[int] = (64, 64),
        lipschitz: float = 0.97,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        sizes = tuple(int(size) for size in hidden_sizes)
        if not sizes or min(sizes) < 1:
            raise ValueError(
                f"ResidualBlock got hidden_sizes {sizes}, expected one or more positive numbers."
            )
        if not 0 < lipschitz < 1:
            raise ValueError(
                f"ResidualBlock got lipschitz {lipschitz}, expected a number between 0 and 1."
            )
        self.event_shape, self.context_size = (dim,), context_size
        self.lipschitz = float(lipschitz)

        def draw(fan_in: int, fan_out: int, gain: float = 1.0) -> nnx.Param:
            shape = (fan_out, fan_in)
            return nnx.Param(gain / fan_in**0.5 * jax.random.normal(rngs.params(), shape))

        pairs = itertools.pairwise((dim, *sizes))
        self.weights = nnx.List([draw(*pair) for pair in pairs] + [draw(sizes[-1], dim, 0.1)])
        self.biases = nnx.List([nnx.Param(jnp.zeros(size)) for size in (*sizes, dim)])
        self.context_weight = draw(context_size, sizes[0]) if context_size else None

    def _arrays(self):
        """The normalised weights and the biases."""
        share = self.lipschitz ** (1 / len(self.weights))
        weights = []
        for weight in self.weights:
            weights.append(weight[...] / jnp.maximum(1, spectral_norm(weight[...]) / share))
        return weights, [bias[...] for bias in self.biases]

    def _network(self, context) -> Callable[[jax.Array], jax.Array]:
        weights, biases = self._arrays()
        offset = 0.0
        if self.context_weight is not None:
            check_context("ResidualBlock", context, self.context_size)
            offset = context @ self.context_weight[...].T

        def network(x: jax.Array) -> jax.Array:
            h = x @ weights[0].T + biases[0] + offset
            for weight, bias in zip(weights[1:], biases[1:], strict=True):
                h = (h * jax.nn.sigmoid(h) / 1.1) @ weight.T + bias
            return h

        return network

    def _log_det(self, x: jax.Array, network, context) -> jax.Array:
        if self.noise_key is not None:
            fixed = jax.lax.stop_gradient((self, x, context))
            return self._estimate(x, network, fixed[1], fixed[0]._network(fixed[2]))
        (dim,) = self.event_shape

        def column(direction):
            return jax.jvp(network, (x,), (jnp.broadcast_to(direction, x.shape),))[1]

        eye = jnp.eye(dim, dtype=x.dtype)
        jacobian = jnp.moveaxis(jax.vmap(column)(eye), 0, -1)
        return jnp.linalg.slogdet(eye + jacobian)[1]

    def _estimate(self, x: jax.Array, network, fixed_x: jax.Array, fixed_network) -> jax.Array:
        """The estimate of the log-determinant; what is fixed is seen by no derivative.

        Its derivative is `vᵀ d(∂g/∂x) e`, v the same random number of terms of `(I + ∂g/∂x)⁻ᵀ e`.
        """
        of_length, of_signs = jax.random.split(jax.random.wrap_key_data(self.noise_key[...]))
        going_on = self.lipschitz**2
        more = jnp.log(jax.random.uniform(of_length)) / jnp.log(going_on)
        length = EXACT_TERMS + more.astype(int)
        keys = event_keys(of_signs, x)
        signs = jax.vmap(lambda key: jax.random.rademacher(key, self.event_shape, x.dtype))(
            keys.reshape(-1)
        ).reshape(x.shape)
        _, pull = jax.vjp(fixed_network, fixed_x)

        def add(state):
            k, w, v, total = state
            weight = going_on ** -jnp.maximum(0, k - EXACT_TERMS).astype(x.dtype)
            weight = jnp.where(k % 2 == 1, weight, -weight)
            v = v + weight * w
            (w,) = pull(w)
            return k + 1, w, v, total + weight / k * (w * signs).sum(-1)

        start = 1, signs, jnp.zeros_like(x), jnp.zeros(x.shape[:-1], x.dtype)
        _, _, v, total = jax.lax.while_loop(lambda state: state[0] <= length, add, start)
        slope = (v * jax.jvp(network, (x,), (signs,))[1]).sum(-1)
        return jax.lax.stop_gradient(total) + slope - jax.lax.stop_gradient(slope)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        network = self._network(context)
        bend = network(x)
        x = jnp.broadcast_to(x, bend.shape)
        return x + bend, self._log_det(x, network, context)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        network = self._network(context)
        shape = jax.eval_shape(network, z)
        z = jnp.broadcast_to(z, shape.shape).astype(shape.dtype)

        def solve(_, start):
            return fixed_point(lambda x: z - network(x), start)

        x = jax.lax.custom_root(lambda x: x + network(x) - z, z, solve, _solve_tangent)
        return x, -self._log_det(x, network, context)


def spectral_norm(w: jax.Array) -> jax.Array:
    """`‖W‖₂ = uᵀ W v` of `W: [m, n]`, u and v its first singular vectors.

    v is an eigenvector of `Wᵀ W`. No derivative sees u and v, in which the norm is stationary: the
    gradient is `u vᵀ`, without those of all the other singular vectors.
    """
    if w.shape[0] < w.shape[1]:
        w = w.T
    fixed = jax.lax.stop_gradient(w)
    v = jnp.linalg.eigh(fixed.T @ fixed)[1][:, -1]
    u = fixed @ v
    u = u / jnp.maximum(jnp.linalg.norm(u), jnp.finfo(w.dtype).tiny)
    return u @ (w @ v)


def _solve_tangent(matvec, b: jax.Array) -> jax.Array:
    """Solves `(I + J) v = b` for a contraction J and `matvec(v) = v + J v`."""
    return solve_by_sweeps(fixed_point, matvec, b)


def fixed_point(sweep: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Repeats `x ← sweep(x)`, a contraction, until no entry changes by more than
    `4 ε max(1, |x|)`, at the latest `MAX_STEPS` times."""
    tolerance = 4 * jnp.finfo(x.dtype).eps

    def unfinished(state):
        step, _, done = state
        return (step < MAX_STEPS) & ~done

    def improve(state):
        step, x, _ = state
        new = sweep(x).astype(x.dtype)
        done = jnp.all(jnp.abs(new - x) <= tolerance * jnp.maximum(1, jnp.abs(new)))
        return step + 1, new, done

    return jax.lax.while_loop(unfinished, improve, (0, x, jnp.array(False)))[1]
