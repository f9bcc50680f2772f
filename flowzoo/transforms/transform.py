"""The interface of invertible maps, and the two ways of putting them together."""

from abc import abstractmethod
from collections.abc import Iterable
import itertools
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.shapes import check_event

# Rows that a pass over a whole data set handles at once, so that hidden activations fit in memory.
CHUNK_SIZE = 4096


class Transform(nnx.Module):
    """An invertible map `z = f(x)`; forward is data → latent.

    Attributes:
      event_shape: shape of one `x`, without batch axes.
    """

    event_shape: tuple[int, ...]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one `z`, without batch axes."""
        return self.event_shape

    @abstractmethod
    def forward_and_log_det(
        self, x: jax.Array, context: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns `z = f(x)` and `log|det ∂f/∂x|` in nats.

        Args:
          x: `[..., *event_shape]`.
          context: `[..., context_size]`, already encoded as real numbers; its batch axes broadcast
            against those of `x`.

        Returns:
          `z: [..., *latent_shape]` and `log_det: [...]`.
        """

    @abstractmethod
    def inverse_and_log_det(
        self, z: jax.Array, context: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns `x = f⁻¹(z)` and `log|det ∂f⁻¹/∂z|`, the forward log-determinant negated.

        Args:
          z: `[..., *latent_shape]`.
          context: as in `forward_and_log_det`.

        Returns:
          `x: [..., *event_shape]` and `log_det: [...]`.
        """

    def forward(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Returns `z = f(x)`."""
        return self.forward_and_log_det(x, context)[0]

    def inverse(self, z: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Returns `x = f⁻¹(z)`."""
        return self.inverse_and_log_det(z, context)[0]

    @property
    def data_dependent(self) -> bool:
        """Whether `initialize` has anything to set here."""
        return False

    def initialize(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Sets starting values that depend on data, in place, and returns `f(x)`.

        Args:
          x: `[N, *event_shape]`, training data as they reach this transform.
          context: `[N, context_size]` or None.
        """
        return jax.lax.map(lambda row: self.forward(*row), (x, context), batch_size=CHUNK_SIZE)

    @property
    def initialize_rows(self) -> int | None:
        """How many rows `initialize` makes use of at most, None for all of them."""
        return None if self.data_dependent else 0

    @property
    def has_statistics(self) -> bool:
        """Whether `update_statistics` has anything to set here."""
        return False

    def update_statistics(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Sets statistics of a whole data set, in place, and returns `f(x)`.

        Args:
          x: `[N, *event_shape]`, training data as they reach this transform. They are mapped in
            chunks of `CHUNK_SIZE`.
          context: `[N, context_size]` or None.
        """
        return jax.lax.map(lambda row: self.forward(*row), (x, context), batch_size=CHUNK_SIZE)

    def check_event(self, x: jax.Array) -> None:
        """Raises ValueError unless `x: [..., *event_shape]`."""
        check_event(type(self).__name__, x, self.event_shape)

    def check_latent(self, z: jax.Array) -> None:
        """Raises ValueError unless `z: [..., *latent_shape]`."""
        check_event(f"The inverse of {type(self).__name__}", z, self.latent_shape)


class Chain(Transform):
    """`f = f_n ∘ … ∘ f_1`: the first transform of the list sees the data.

    Raises:
      ValueError: if the list is empty or two neighbours disagree on the shape between them.
    """

    def __init__(self, transforms: Iterable[Transform]):
        transforms = list(transforms)
        if not transforms:
            raise ValueError("Chain got no transforms, expected at least one.")
        for i, (f, g) in enumerate(itertools.pairwise(transforms)):
            if f.latent_shape != g.event_shape:
                raise ValueError(
                    f"Chain: transform {i} ({type(f).__name__}) gives events of shape "
                    f"{f.latent_shape}, but transform {i + 1} ({type(g).__name__}) takes "
                    f"{g.event_shape}."
                )
        self.event_shape = transforms[0].event_shape
        self.transforms = nnx.List(transforms)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.transforms[-1].latent_shape

    def forward_and_log_det(self, x, context=None):
        z, log_det = self.transforms[0].forward_and_log_det(x, context)
        for transform in list(self.transforms)[1:]:
            z, term = transform.forward_and_log_det(z, context)
            log_det = log_det + term
        return z, log_det

    @property
    def data_dependent(self) -> bool:
        return any(transform.data_dependent for transform in self.transforms)

    @property
    def initialize_rows(self) -> int | None:
        return _most(transform.initialize_rows for transform in self.transforms)

    def initialize(self, x, context=None):
        for transform in self.transforms:
            x = transform.initialize(x, context)
        return x

    def initialize_thinning(self, x: jax.Array, context: jax.Array | None = None) -> None:
        """Like `initialize`, but takes rows no further than something still needs them.

        Mapping a million rows through a deep stack takes a while, and most of it could do with few.
        """
        transforms = list(self.transforms)
        for i, transform in enumerate(transforms):
            rows = _most(transform.initialize_rows for transform in transforms[i:])
            if rows == 0:
                return
            if rows is not None and rows < len(x):
                step = len(x) // rows
                x, context = jax.tree.map(lambda a: a[::step], (x, context))  # noqa: B023
            x = transform.initialize(x, context)

    @property
    def has_statistics(self) -> bool:
        return any(transform.has_statistics for transform in self.transforms)

    def update_statistics(self, x, context=None):
        for transform in self.transforms:
            x = transform.update_statistics(x, context)
        return x

    def inverse_and_log_det(self, z, context=None):
        x, log_det = self.transforms[-1].inverse_and_log_det(z, context)
        for transform in list(self.transforms)[-2::-1]:
            x, term = transform.inverse_and_log_det(x, context)
            log_det = log_det + term
        return x, log_det


def _most(rows: Iterable[int | None]) -> int | None:
    rows = list(rows)
    return None if None in rows else max(rows)


class Inverse(Transform):
    """`f⁻¹` as a transform of its own: forward and inverse exchanged."""

    def __init__(self, transform: Transform):
        self.event_shape = transform.latent_shape
        self.transform = transform

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.transform.event_shape

    def forward_and_log_det(self, x, context=None):
        return self.transform.inverse_and_log_det(x, context)

    def inverse_and_log_det(self, z, context=None):
        return self.transform.forward_and_log_det(z, context)


class Reshape(Transform):
    """The same numbers in another shape; `log_det = 0`.

    Raises:
      ValueError: if the two shapes hold different numbers of elements.
    """

    def __init__(self, event_shape: tuple[int, ...], latent_shape: tuple[int, ...]):
        self.event_shape, self._latent_shape = tuple(event_shape), tuple(latent_shape)
        if math.prod(self.event_shape) != math.prod(self._latent_shape):
            raise ValueError(
                f"Reshape got event_shape {self.event_shape} and latent_shape "
                f"{self._latent_shape}, expected two shapes with the same number of elements."
            )

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self._latent_shape

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        batch_shape = x.shape[: x.ndim - len(self.event_shape)]
        return x.reshape(batch_shape + self._latent_shape), jnp.zeros(batch_shape, x.dtype)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        batch_shape = z.shape[: z.ndim - len(self._latent_shape)]
        return z.reshape(batch_shape + self.event_shape), jnp.zeros(batch_shape, z.dtype)
