"""One transform for each step of a sequence."""

import jax
import jax.numpy as jnp

from flowzoo.transforms.transform import Transform


class Rows(Transform):
    """`z_t = f(x_t)` for sequences `x: [T, *event_shape]`; `log_det = Σ_t log|det ∂f/∂x_t|`.

    Args:
      transform: f, of one step.
      length: T.

    Raises:
      ValueError: if the length is not positive.
    """

    def __init__(self, transform: Transform, length: int):
        if length < 1:
            raise ValueError(f"Rows got length {length}, expected at least 1.")
        self.event_shape = (length, *transform.event_shape)
        self.transform = transform

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self.event_shape[0], *self.transform.latent_shape)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        z, log_det = self.transform.forward_and_log_det(x, _for_each_step(context))
        return z, log_det.sum(-1)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x, log_det = self.transform.inverse_and_log_det(z, _for_each_step(context))
        return x, log_det.sum(-1)

    def initialize(self, x, context=None, *, inverse=False):
        return self._hand_on(self.transform.initialize, x, context, inverse)

    def update_statistics(self, x, context=None, *, inverse=False):
        return self._hand_on(self.transform.update_statistics, x, context, inverse)

    def _hand_on(self, function, x: jax.Array, context: jax.Array | None, inverse: bool):
        """Gives the steps of all sequences to a function of rows of data."""
        shapes = self.transform.event_shape, self.transform.latent_shape
        before, after = reversed(shapes) if inverse else shapes
        length = self.event_shape[0]
        if context is not None:
            context = jnp.repeat(context, length, 0)
        z = function(x.reshape(-1, *before), context, inverse=inverse)
        return z.reshape(len(x), length, *after)


def _for_each_step(context: jax.Array | None) -> jax.Array | None:
    return None if context is None else context[..., None, :]
