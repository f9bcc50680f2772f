"""What a conditional flow is conditioned on: class labels or real features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Labels:
    """Class labels 0 … `num_classes` − 1, shown to the networks as one-hot vectors."""

    num_classes: int

    @property
    def size(self) -> int:
        """Width of the encoded context."""
        return self.num_classes

    def encode(self, context) -> jax.Array:
        """One-hot vectors `[..., num_classes]` of integer labels `[...]`.

        In a traced function −1 is no label, and becomes zeros; see `config.label_dropout`.

        Raises:
          ValueError: if the labels are not integers or, where their values are known (not traced),
            one of them is out of range.
        """
        # Numpy, because under jit even an operation on known values would be traced.
        context = context if isinstance(context, jax.core.Tracer) else np.asarray(context)
        if not jnp.issubdtype(context.dtype, jnp.integer):
            raise ValueError(
                f"The context got dtype {context.dtype}, expected integer class labels "
                f"0 … {self.num_classes - 1} of shape [...]."
            )
        if not isinstance(context, jax.core.Tracer) and context.size:
            low, high = int(context.min()), int(context.max())
            if low < 0 or high >= self.num_classes:
                raise ValueError(
                    f"The context holds the label {low if low < 0 else high}, expected labels "
                    f"0 … {self.num_classes - 1}."
                )
        return jax.nn.one_hot(context, self.num_classes)


@dataclasses.dataclass(frozen=True)
class Features:
    """Real-valued context vectors of width `size`."""

    size: int

    def encode(self, context) -> jax.Array:
        """Returns the context `[..., size]` as it is.

        Raises:
          ValueError: if it is not floating point or has another width.
        """
        context = jnp.asarray(context)
        if not jnp.issubdtype(context.dtype, jnp.floating):
            raise ValueError(
                f"The context got dtype {context.dtype}, expected floating-point features "
                f"[..., {self.size}]."
            )
        if context.ndim == 0 or context.shape[-1] != self.size:
            raise ValueError(
                f"The context got shape {context.shape}, expected features [..., {self.size}]."
            )
        return context


ContextSpec = Labels | Features


def to_json(context: ContextSpec | None) -> dict[str, int] | None:
    """`{"labels": 10}`, `{"features": 3}` or None."""
    return None if context is None else {type(context).__name__.lower(): context.size}


def from_json(encoded: dict[str, int] | None) -> ContextSpec | None:
    """The inverse of `to_json`.

    Raises:
      ValueError: if it is another kind of context.
    """
    if encoded is None:
        return None
    ((kind, size),) = encoded.items()
    kinds = {"labels": Labels, "features": Features}
    if kind not in kinds:
        raise ValueError(f"Unknown context {kind!r}, expected labels or features.")
    return kinds[kind](size)
