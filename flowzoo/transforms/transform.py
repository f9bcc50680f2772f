"""The interface of invertible maps, and the two ways of putting them together."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
import itertools
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.shapes import batch_shape, check_event
from flowzoo.transforms.activations import programs

# Rows that a pass over a whole data set handles at once, so that hidden activations fit in memory.
CHUNK_SIZE = 4096


class Transform(nnx.Module):
    """An invertible map `z = f(x)`; forward is data → latent.

    Attributes:
      event_shape: shape of one `x`, without batch axes.
    """

    event_shape: tuple[int, ...]
    # How many rows of training data `fit` makes use of: 0 for none, None for all there are.
    fit_rows: int | None = 0

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

    def fit(self, x: jax.Array, context: jax.Array | None = None) -> None:
        """Sets starting values that depend on data, in place: the hook of a layer that has such.

        A layer that overrides it says in `fit_rows` how many rows it makes use of.

        Args:
          x: `[N, *event_shape]`, training data as they reach this transform.
          context: `[N, context_size]` or None.
        """

    def initialize(
        self, x: jax.Array, context: jax.Array | None = None, *, inverse: bool = False
    ) -> jax.Array:
        """Fits everything in here to the data that reach it, in place, and returns `f(x)`.

        A transform that holds others overrides this, to hand the data on.

        Args:
          x: `[N, *event_shape]`, training data as they reach this transform.
          context: `[N, context_size]` or None.
          inverse: whether the data pass from the latents' side, as in an `Inverse`: then they are
            `[N, *latent_shape]`, and the result is `f⁻¹(x)`.

        Raises:
          ValueError: if a layer is to be fitted to data that pass it backwards, or is held by a
            transform that does not hand data on.
        """
        if self.fit_rows != 0 and inverse:
            raise ValueError(
                f"{type(self).__name__} stands in an Inverse, where training data pass it "
                "backwards, but its starting values are for data that pass it forwards: put it "
                "outside of the Inverse."
            )
        self._refuse_held([m for _, m in nnx.iter_modules(self) if getattr(m, "fit_rows", 0) != 0])
        if self.fit_rows != 0:
            self.fit(x, context)
        if self.fit_rows is None:  # Linear maps, which have no hidden activations to hold.
            return self.forward(x, context)
        return self._map(x, context, inverse)

    def update_statistics(
        self, x: jax.Array, context: jax.Array | None = None, *, inverse: bool = False
    ) -> jax.Array:
        """Sets statistics of a whole data set, in place, and returns `f(x)`.

        A layer that has statistics (as `nnx.BatchStat`) overrides this, and so does a transform
        that holds others.

        Args:
          x: `[N, *event_shape]`, training data as they reach this transform. They are mapped in
            chunks of `CHUNK_SIZE`.
          context: `[N, context_size]` or None.
          inverse: as for `initialize`.

        Raises:
          ValueError: if a layer with statistics is held by a transform that does not hand data on.
        """
        self._refuse_held([m for _, m in nnx.iter_modules(self) if _has_own_statistics(m)])
        return self._map(x, context, inverse)

    def _map(self, x, context, inverse: bool) -> jax.Array:
        f = self.inverse if inverse else self.forward
        return jax.lax.map(lambda row: f(*row), (x, context), batch_size=CHUNK_SIZE)

    def _refuse_held(self, layers: list[nnx.Module]) -> None:
        held = [type(layer).__name__ for layer in layers if layer is not self]
        if held:
            raise ValueError(
                f"{type(self).__name__} holds {held[0]}, which needs to see training data, but "
                "does not hand data on: override `initialize` and `update_statistics` in "
                f"{type(self).__name__}, as Chain does."
            )

    def for_each_event(self, log_det: jax.Array, x: jax.Array) -> jax.Array:
        """A log-determinant that all events of `x: [..., *event_shape]` have: `[...]`."""
        return jnp.broadcast_to(log_det, batch_shape(x, self.event_shape)).astype(x.dtype)

    def check_event(self, x: jax.Array) -> None:
        """Raises ValueError unless `x: [..., *event_shape]`."""
        check_event(type(self).__name__, x, self.event_shape)

    def check_latent(self, z: jax.Array) -> None:
        """Raises ValueError unless `z: [..., *latent_shape]`."""
        check_event(f"The inverse of {type(self).__name__}", z, self.latent_shape)


class Chain(Transform):
    """`f = f_n ∘ … ∘ f_1`: the first transform of the list sees the data.

    Attributes:
      activations: a mode, what a backward pass finds of them; see `flowzoo.transforms.with_modes`.

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
        self.activations = "kept"

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return self.transforms[-1].latent_shape

    def forward_and_log_det(self, x, context=None):
        return self._pass("forward_and_log_det", list(self.transforms), x, context)

    def inverse_and_log_det(self, z, context=None):
        return self._pass("inverse_and_log_det", list(self.transforms)[::-1], z, context)

    def _pass(self, method: str, transforms: list[Transform], x, context):
        log_det = None
        for program in programs(self.activations, method, transforms):
            x, term = program(x, context)
            log_det = term if log_det is None else log_det + term
        return x, log_det

    def initialize(self, x, context=None, *, inverse=False):
        for transform in reversed(self.transforms) if inverse else self.transforms:
            x = transform.initialize(x, context, inverse=inverse)
        return x

    def update_statistics(self, x, context=None, *, inverse=False):
        for transform in reversed(self.transforms) if inverse else self.transforms:
            x = transform.update_statistics(x, context, inverse=inverse)
        return x


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

    def initialize(self, x, context=None, *, inverse=False):
        return self.transform.initialize(x, context, inverse=not inverse)

    def update_statistics(self, x, context=None, *, inverse=False):
        return self.transform.update_statistics(x, context, inverse=not inverse)


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
        shape = batch_shape(x, self.event_shape)
        return x.reshape(shape + self._latent_shape), jnp.zeros(shape, x.dtype)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        shape = batch_shape(z, self._latent_shape)
        return z.reshape(shape + self.event_shape), jnp.zeros(shape, z.dtype)


def rows_used(module: nnx.Module) -> int | None:
    """How many rows of training data the layers in a module make use of, None for all of them."""
    rows = [getattr(m, "fit_rows", 0) for _, m in nnx.iter_modules(module)]
    return None if None in rows else max(rows)


class Mark:
    """Whether a layer was given data: an attribute `mark` of the layer and of all copies of it.

    All marks are equal, so that the structure of a flow does not depend on them.
    """

    def __init__(self):
        self.fitted = False

    def __eq__(self, other):
        return isinstance(other, Mark)

    def __hash__(self):
        return hash(Mark)


def mark_fitted(module: nnx.Module) -> None:
    """Marks the layers in a module whose arrays come from where data have set them."""
    for _, layer in nnx.iter_modules(module):
        if hasattr(layer, "mark"):
            layer.mark.fitted = True


def initialize_thinning(
    transform: Transform, x: jax.Array, context: jax.Array | None = None
) -> None:
    """As `transform.initialize`, but takes rows no further than something still needs them.

    Mapping a million rows through a deep flow takes a while, and most of it could do with few.
    """
    steps = list(_steps(transform, inverse=False))
    rows = [rows_used(step) for step, _ in steps]
    for i, (step, inverse) in enumerate(steps):
        needed = None if None in rows[i:] else max(rows[i:])
        if needed == 0:
            return
        if needed is not None and needed < len(x):
            stride = len(x) // needed
            x, context = jax.tree.map(lambda a: a[::stride], (x, context))  # noqa: B023
        x = step.initialize(x, context, inverse=inverse)


def _steps(transform: Transform, *, inverse: bool) -> Iterator[tuple[Transform, bool]]:
    """What data pass one after the other, and whether they pass it backwards."""
    if isinstance(transform, Inverse):
        yield from _steps(transform.transform, inverse=not inverse)
    elif isinstance(transform, Chain):
        for each in reversed(transform.transforms) if inverse else transform.transforms:
            yield from _steps(each, inverse=inverse)
    else:
        yield transform, inverse


def _has_own_statistics(module: nnx.Module) -> bool:
    return any(isinstance(value, nnx.BatchStat) for value in vars(module).values())
