"""Sequences whose latents are independent given a hidden state that moves from step to step."""

import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.bases.base import Base
from flowzoo.bases.conditional import ScaleFamily
from flowzoo.numerics.shapes import check_event
from flowzoo.numerics.smooth import bounded_log_scale


class HiddenMarkov(Base):
    """`p(z) = Σ_c π(c_1) Π_t A(c_{t−1}, c_t) Π_t Π_i p(z_ti | c_t)` over sequences `z: [T, D]`.

    A hidden state c_t takes the place of the observed u of `ConditionalFactorial`. The sum over all
    `K^T` paths is exact, by the forward algorithm on a logarithmic scale, in O(T K (K + D)). The
    transform of a flow on it is one for each step, `flowzoo.transforms.Rows`.

    Args:
      event_shape: `(T, D)`.
      num_states: K.
      family: of each p(z_ti | c_t), as in `ConditionalFactorial`.
      stay: `A(c, c)` at the start, all other transitions being equally probable.
      rngs: draws the means from N(0, 1); scales start at one, π uniform.

    Raises:
      ValueError: if the event is no sequence, there is no state, `stay` is no probability between 0
        and 1, or the family is unknown.

    Source: Hälvä, Hyvärinen, "Hidden Markov nonlinear ICA: unsupervised learning from nonstationary
    time series", arXiv 2006.12107; Rabiner, "A tutorial on hidden Markov models", 1989.
    """

    def __init__(
        self,
        event_shape: tuple[int, int],
        *,
        num_states: int,
        family: str = "normal",
        stay: float = 0.9,
        rngs: nnx.Rngs,
    ):
        self.event_shape = tuple(event_shape)
        if len(self.event_shape) != 2 or min(self.event_shape) < 1:
            raise ValueError(
                f"HiddenMarkov got event_shape {self.event_shape}, expected (T, D): T steps of D "
                "coordinates."
            )
        if num_states < 1:
            raise ValueError(f"HiddenMarkov got {num_states} states, expected at least 1.")
        if not 0 < stay < 1:
            raise ValueError(f"HiddenMarkov got stay {stay}, expected a probability in (0, 1).")
        dim = self.event_shape[1]
        self.family = ScaleFamily((dim,), family)
        self.mean = nnx.Param(jax.random.normal(rngs.params(), (num_states, dim)))
        self.log_scale = nnx.Param(jnp.zeros((num_states, dim)))
        self.initial_logits = nnx.Param(jnp.zeros(num_states))
        # Of a softmax: odds of staying against going to one of the others.
        odds = math.log(stay / (1 - stay) * max(1, num_states - 1))
        self.transition_logits = nnx.Param(odds * jnp.eye(num_states))

    @property
    def num_states(self) -> int:
        """K."""
        return self.mean.shape[0]

    def _log_chain(self) -> tuple[jax.Array, jax.Array]:
        """`log π: [K]` and `log A: [K, K]`, whose rows are where a step starts."""
        return (
            jax.nn.log_softmax(self.initial_logits[...]),
            jax.nn.log_softmax(self.transition_logits[...], axis=-1),
        )

    def _log_emission(self, z: jax.Array) -> jax.Array:
        """`log p(z_t | c): [..., T, K]`."""
        log_scale = bounded_log_scale(self.log_scale[...])
        return self.family.log_density(z[..., None, :], self.mean[...], log_scale).sum(-1)

    def _log_prob(self, log_emission: jax.Array) -> jax.Array:
        log_initial, log_transition = self._log_chain()

        def advance(log_alpha, log_emission):
            moved = jax.nn.logsumexp(log_alpha[..., :, None] + log_transition, axis=-2)
            return moved + log_emission, None

        steps = jnp.moveaxis(log_emission, -2, 0)
        log_alpha, _ = jax.lax.scan(advance, log_initial + steps[0], steps[1:])
        return jax.nn.logsumexp(log_alpha, axis=-1)

    def log_prob(self, z, context=None):
        check_event(type(self).__name__, z, self.event_shape)
        return self._log_prob(self._log_emission(z))

    def posterior(self, z: jax.Array) -> jax.Array:
        """`p(c_t = k | z_1 … z_T): [..., T, K]` of `z: [..., T, D]`.

        The derivative of the log-likelihood in the log-emissions, which is what a backward pass of
        the forward algorithm computes.
        """
        check_event(type(self).__name__, z, self.event_shape)
        return jax.grad(lambda log_emission: self._log_prob(log_emission).sum())(
            self._log_emission(z)
        )

    def sample(self, key, sample_shape=(), context=None):
        shape = self.draw_shape(sample_shape, context)
        first_key, path_key, noise_key = jax.random.split(key, 3)
        log_initial, log_transition = self._log_chain()
        first = jax.random.categorical(first_key, log_initial, shape=shape[:-2])

        def advance(state, key):
            following = jax.random.categorical(key, log_transition[state])
            return following, following

        keys = jax.random.split(path_key, shape[-2] - 1)
        _, rest = jax.lax.scan(advance, first, keys)
        states = jnp.moveaxis(jnp.concatenate([first[None], rest]), 0, -1)
        scale = jnp.exp(bounded_log_scale(self.log_scale[...]))
        return self.mean[...][states] + scale[states] * self.family.draw(noise_key, shape)
