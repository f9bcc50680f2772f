"""From coordinates of several supports to the real numbers, by the supports' names."""

from collections.abc import Callable, Mapping, Sequence
import inspect
import math
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.names import did_you_mean
from flowzoo.transforms.elementwise.affine import Affine
from flowzoo.transforms.elementwise.units import Units
from flowzoo.transforms.support.angle import Angle
from flowzoo.transforms.support.logit import Logit
from flowzoo.transforms.support.softplus import Softplus
from flowzoo.transforms.support.stick_breaking import StickBreaking
from flowzoo.transforms.transform import Chain, Transform

Record = str | Mapping[str, Any]


def _real() -> Transform:
    return Affine((1,))


def _positive() -> Transform:
    return Softplus((1,))


def _above(low: float) -> Transform:
    return Chain([Units((1,), shift=low), Softplus((1,))])


def _below(high: float) -> Transform:
    return Chain([Units((1,), shift=high, scale=-1.0), Softplus((1,))])


def _interval(low: float, high: float) -> Transform:
    if not -math.inf < low < high < math.inf:
        raise ValueError(
            f"The support 'interval' got low {low} and high {high}, expected two numbers, the "
            "lower one first."
        )
    return Chain([Units((1,), shift=low, scale=high - low), Logit((1,), alpha=0.0)])


def _unit() -> Transform:
    return Logit((1,), alpha=0.0)


def _angle(cut: float = -math.pi, low: float = -math.pi) -> Transform:
    return Chain([Angle((1,), cut=cut, low=low), Logit((1,), alpha=0.0)])


def _simplex(size: int) -> Transform:
    return StickBreaking(size)


SUPPORTS: dict[str, Callable[..., Transform]] = {
    "real": _real,
    "positive": _positive,
    "above": _above,
    "below": _below,
    "unit": _unit,
    "interval": _interval,
    "angle": _angle,
    "simplex": _simplex,
}


def outside(record: Record, x: np.ndarray) -> str | None:
    """What numbers of a support are, in words, if not all rows of `x: [N, k]` are such."""
    options = {"name": record} if isinstance(record, str) else dict(record)
    low, high = {
        "positive": (0.0, math.inf),
        "above": (options.get("low"), math.inf),
        "below": (-math.inf, options.get("high")),
        "unit": (0.0, 1.0),
        "interval": (options.get("low"), options.get("high")),
        "simplex": (0.0, 1.0),
    }.get(options["name"], (-math.inf, math.inf))
    if options["name"] == "simplex":
        fits = np.all(x > 0) and np.all(x.sum(-1) < 1)
        words = "positive parts whose sum is below 1, without the last part of the whole"
    else:
        fits, words = np.all((x > low) & (x < high)), f"numbers between {low:g} and {high:g}"
    return None if fits else words


class Supports(Transform):
    """`z = (f_1(x), f_2(x), …)`, each f_k a bijection from a support to the real numbers, of one
    coordinate or of a few; `log_det` is the sum of theirs.

    The supports, in the order of the coordinates, are records or plain names:

      real                        any number, left as it is
      positive                    x > 0, by `Softplus`
      above (low), below (high)   x > low, x < high
      unit, interval (low, high)  0 < x < 1, low < x < high, by `Logit`
      angle (cut, low)            radians, by `Angle` and `Logit`; both are −π if left out
      simplex (size)              that many coordinates, positive and of sum below 1: the parts of
                                  a whole without the last one, by `StickBreaking`

    Args:
      supports: one for each coordinate, or for the coordinates of each simplex.

    Raises:
      ValueError: if there is none, or one of them is unknown or has other numbers than its own.

    Example:
      >>> import jax.numpy as jnp
      >>> from flowzoo.transforms import Supports
      >>> layer = Supports(["real", "positive", {"name": "interval", "low": -1, "high": 1}])
      >>> z = layer.forward(jnp.array([0.5, 2.0, 0.0]))
      >>> [round(float(v), 3) for v in z]
      [0.5, 1.855, 0.0]
    """

    def __init__(self, supports: Sequence[Record]):
        transforms = [_make(i, record) for i, record in enumerate(supports)]
        self.supports = tuple(
            r if isinstance(r, str) else tuple(sorted(r.items())) for r in supports
        )
        if not transforms:
            raise ValueError("Supports got no support, expected one for each coordinate.")
        self.event_shape = (sum(t.event_shape[0] for t in transforms),)
        self.transforms = nnx.List(transforms)

    def _apply(self, method: str, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        parts, log_det, start = [], 0.0, 0
        for transform in self.transforms:
            stop = start + transform.event_shape[0]
            part, term = getattr(transform, method)(a[..., start:stop])
            parts.append(part)
            log_det, start = log_det + term, stop
        return jnp.concatenate(parts, -1), log_det

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._apply("forward_and_log_det", x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return self._apply("inverse_and_log_det", z)


def _make(i: int, record: Record) -> Transform:
    options = {"name": record} if isinstance(record, str) else dict(record)
    name = options.pop("name", None)
    if name not in SUPPORTS:
        raise ValueError(
            f"Support {i} is {name!r}, expected one of {', '.join(SUPPORTS)}."
            + did_you_mean(name, SUPPORTS)
        )
    parameters = inspect.signature(SUPPORTS[name]).parameters
    wanted = list(parameters)
    needed = {key for key, p in parameters.items() if p.default is p.empty}
    if not needed <= set(options) <= set(wanted):
        raise ValueError(
            f"Support {i}, {name!r}, got {sorted(options) or 'nothing'}, expected "
            f"{wanted or 'nothing'} beside its name."
        )
    return SUPPORTS[name](**options)
