"""From a log-density to a flow, by reverse Kullback–Leibler divergence."""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any, NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowzoo.flow import Flow
from flowzoo.transforms import Chain, Inverse, Supports
from flowzoo.transforms.transform import mark_fitted
from flowzoo.zoo import build

# Steps in one dispatch, after which the host looks whether all is finite.
CHUNK = 100
CLIP_NORM = 100.0
FIRST_TEMPER = 0.01


class DensityFit(NamedTuple):
    """A flow fitted to a density p of unknown normaliser Z, and how good it is; all in nats.

    The last four are of fresh samples `x ~ q`, the flow, with the log-weights
    `log w = log p(x) − log q(x)`.

    Attributes:
      flow: q.
      elbo: the mean of log w, a lower bound of log Z; the gap is `KL(q ‖ p / Z)`.
      elbo_error: its standard error.
      log_normalizer: the logarithm of the mean of w, an estimate of log Z from below.
      effective_sample_size: `(Σ w)² / Σ w²` over the number of samples, in (0, 1]. It sees only
        where q has mass: modes that q has lost do not lower it.
      elbos: `[num_steps]`, of the batches of training.
    """

    flow: Flow
    elbo: float
    elbo_error: float
    log_normalizer: float
    effective_sample_size: float
    elbos: np.ndarray


def fit_to_density(
    log_density: Callable[[jax.Array], jax.Array],
    event_shape: tuple[int, ...],
    model: str | Mapping[str, Any] = "nsf_coupling",
    *,
    supports: Sequence[str | Mapping[str, Any]] | None = None,
    inverted: bool = False,
    sticking_the_landing: bool = True,
    annealing: float = 0.0,
    num_steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    num_samples: int = 10_000,
    seed: int = 0,
) -> DensityFit:
    """Trains a flow q on a density instead of data: it minimises `E_q[log q(x) − log p(x)]`.

    Each step draws a batch from q and differentiates through the draw. Adam, its rate falling to
    zero along a cosine, on gradients of a norm of at most `CLIP_NORM`.

    Args:
      log_density: of one event `x: [*event_shape]`, a scalar; it need not be normalised, and must
        be finite and differentiable wherever the supports allow. It is mapped over batches.
      event_shape: shape of one event.
      model: a name or options of `flowzoo.build`.
      supports: of each coordinate, for `flowzoo.transforms.Supports`, which then maps x to the
        real numbers; None: all are real.
      inverted: use the model's transform the other way round. Of a masked autoregressive flow,
        whose samples take D steps, it makes the inverse autoregressive one, whose samples take one.
      sticking_the_landing: leave out of the gradient the part whose mean is zero, that of log q in
        its own parameters. Its variance goes with it where q comes near p. Costs a pass from
        samples to latents, which is dear where `inverted` is of use.
      annealing: over this share of the steps, log p counts by a factor that rises to 1 linearly
        from `FIRST_TEMPER`, so that q first spreads out. It may still end on one mode of several.
      num_steps, batch_size, learning_rate: of training.
      num_samples: from which the quality is estimated.
      seed: of the starting values and of all draws.

    Raises:
      ValueError: if an option cannot be meant, or `flowzoo.build` refuses the model.
      FloatingPointError: if the loss is not finite.

    Source: Rezende, Mohamed, "Variational inference with normalizing flows", ICML 2015, arXiv
    1505.05770; Roeder, Wu, Duvenaud, "Sticking the landing", NeurIPS 2017, arXiv 1703.09194.

    Example:
      >>> import jax.numpy as jnp
      >>> from flowzoo.fitting import fit_to_density
      >>> def log_density(x):
      ...     return -0.5 * jnp.sum((x - 3) ** 2)
      >>> fit = fit_to_density(log_density, (2,), "gaussian", num_steps=300, learning_rate=0.1)
      >>> abs(fit.elbo - jnp.log(2 * jnp.pi)).item() < 0.05  # log Z = log 2π
      True
    """
    _check(num_steps, batch_size, num_samples, learning_rate, annealing)
    flow = _make_flow(event_shape, model, supports, inverted, seed)
    graph, parameters, rest = nnx.split(flow, nnx.Param, ...)
    optimizer = optax.chain(
        optax.clip_by_global_norm(CLIP_NORM),
        optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps)),
    )

    loss = reverse_kl(graph, rest, log_density, batch_size, sticking_the_landing)

    def step(carry, t):
        parameters, state = carry
        temper = tempered(t, annealing * num_steps)
        key = jax.random.fold_in(jax.random.key(seed), t)
        gradient, elbo = jax.grad(loss, has_aux=True)(parameters, temper, key)
        updates, state = optimizer.update(gradient, state, parameters)
        return (optax.apply_updates(parameters, updates), state), elbo

    run = jax.jit(lambda carry, steps: jax.lax.scan(step, carry, steps), donate_argnums=0)
    carry = jax.tree.map(jnp.copy, (parameters, optimizer.init(parameters)))
    elbos = []
    for start in range(0, num_steps, CHUNK):
        carry, part = run(carry, jnp.arange(start, min(start + CHUNK, num_steps)))
        elbos.append(np.asarray(part))
        if not np.all(np.isfinite(elbos[-1])):
            failed = start + int(np.argmin(np.isfinite(elbos[-1])))
            raise FloatingPointError(
                f"The loss is not finite in step {failed}: log_density or the flow's samples are "
                f"not, or a lower learning_rate than {learning_rate} is needed."
            )
    flow = nnx.merge(graph, carry[0], rest)
    log_weights = importance_weights(log_density, flow, num_samples, seed=seed + 1)
    return DensityFit(flow, *summary(log_weights), np.concatenate(elbos))


def tempered(step: jax.Array, num_steps: float) -> jax.Array:
    """The factor of log p in a step: from `FIRST_TEMPER` to 1 within `num_steps`, then 1."""
    rise = step / num_steps if num_steps else 1.0
    return jnp.minimum(1.0, FIRST_TEMPER + (1 - FIRST_TEMPER) * rise)


def reverse_kl(
    graph, rest, log_density: Callable, batch_size: int, sticking_the_landing: bool
) -> Callable:
    """Builds `loss(parameters, temper, key) -> (loss, ELBO)`, estimates by a batch of samples.

    Args:
      graph, rest: of `nnx.split(flow, nnx.Param, ...)`, which the parameters complete.
      log_density: log p of one event.
      batch_size: samples in a batch.
      sticking_the_landing: see `fit_to_density`.
    """

    def loss(parameters, temper, key):
        flow = nnx.merge(graph, parameters, rest)
        if sticking_the_landing:
            x = flow.sample(key, (batch_size,))
            fixed = nnx.merge(graph, jax.lax.stop_gradient(parameters), rest)
            log_q = fixed.log_prob(x)
        else:
            x, log_q = flow.sample_and_log_prob(key, (batch_size,))
        log_p = jax.vmap(log_density)(x)
        return (log_q - temper * log_p).mean(), (log_p - log_q).mean()

    return loss


def importance_weights(
    log_density: Callable[[jax.Array], jax.Array], flow: Flow, num_samples: int, *, seed: int = 0
) -> np.ndarray:
    """`log p(x) − log q(x): [num_samples]` of fresh samples `x ~ q`, in float64.

    Args:
      log_density: log p of one event.
      flow: q.
      num_samples: how many.
      seed: of the draw.
    """

    @jax.jit
    def draw(flow, key):
        x, log_q = flow.sample_and_log_prob(key, (min(num_samples, 1000),))
        return jax.vmap(log_density)(x) - log_q

    keys = jax.random.split(jax.random.key(seed), -(-num_samples // 1000))
    return np.concatenate([draw(flow, key) for key in keys]).astype(np.float64)[:num_samples]


def summary(log_weights: np.ndarray) -> tuple[float, float, float, float]:
    """ELBO, its standard error, `log Z` and the effective sample size of log-weights `[N]`."""
    size, largest = len(log_weights), log_weights.max()
    weights = np.exp(log_weights - largest)
    return (
        float(log_weights.mean()),
        float(log_weights.std() / math.sqrt(size)),
        float(largest + np.log(weights.mean())),
        float(weights.sum() ** 2 / (weights**2).sum() / size),
    )


def _make_flow(event_shape, model, supports, inverted: bool, seed: int) -> Flow:
    flow = build(model, event_shape, rngs=nnx.Rngs(seed))
    mark_fitted(flow)  # There are no data.
    transform = Inverse(flow.transform) if inverted else flow.transform
    if supports is not None:
        to_real = Supports(supports)
        if to_real.event_shape != tuple(event_shape):
            raise ValueError(
                f"fit_to_density got supports of {to_real.event_shape[0]} coordinates and "
                f"event_shape {tuple(event_shape)}, expected a support for each coordinate."
            )
        transform = Chain([to_real, transform])
    return Flow(flow.base, transform)


def _check(num_steps, batch_size, num_samples, learning_rate, annealing) -> None:
    for name, value in (
        ("num_steps", num_steps),
        ("batch_size", batch_size),
        ("num_samples", num_samples),
    ):
        if value < 1:
            raise ValueError(f"fit_to_density got {name} {value}, expected at least 1.")
    if not 0 < learning_rate < math.inf:
        raise ValueError(
            f"fit_to_density got learning_rate {learning_rate}, expected a number above 0."
        )
    if not 0 <= annealing <= 1:
        raise ValueError(
            f"fit_to_density got annealing {annealing}, expected a share of the steps, 0 to 1."
        )
