"""Rational-quadratic splines: increasing, smooth, with a closed-form inverse."""

from collections.abc import Callable
import functools
from typing import NamedTuple

from flax import nnx
import jax
from jax.custom_derivatives import SymbolicZero
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr, ndtri

from flowzoo.numerics.rational_quadratic import MIN_WIDTH, Bin, evaluate_bin, invert_bin
from flowzoo.numerics.shapes import batch_shape
from flowzoo.numerics.smooth import inverse_positive, positive
from flowzoo.transforms.transform import Transform

# Rows of data that place the knots; more would not move them visibly.
QUANTILE_ROWS = 20_000
FINE = 8  # quantiles per bin
SELECTED_BINS = 20  # up to which going through the bins is faster than gathering them, on a CPU


class Knots(NamedTuple):
    """An increasing piecewise rational-quadratic function with linear tails.

    Attributes:
      x: `[..., K + 1]`, increasing.
      y: `[..., K + 1]`, increasing: the values at `x`.
      slope: `[..., K + 1]`, positive: the derivatives at `x`. The tails go on with the outermost.
    """

    x: jax.Array
    y: jax.Array
    slope: jax.Array


def _bins(knots: Knots) -> Bin:
    """All bins, arrays `[D, K]`."""
    x, y, d = knots
    left, right = np.s_[:, :-1], np.s_[:, 1:]
    return Bin(x[left], x[right] - x[left], y[left], y[right] - y[left], d[left], d[right])


def _gathered(bins: Bin, edges: jax.Array, at: jax.Array) -> Bin:
    """For `at: [D, N]` the bins, arrays `[D, N]`, that hold it between `edges: [D, K − 1]`."""
    index = (at[..., None] >= edges[:, None]).sum(-1)
    # Side by side in memory, so that one gather fetches them.
    found = jnp.stack(bins, -1)[jnp.arange(len(edges))[:, None], index]
    return Bin(*(found[..., i] for i in range(len(bins))))


def _through(bins: Bin, edges: jax.Array, at: jax.Array) -> Bin:
    """As `_gathered`, by going through the bins, on the first axis; the others broadcast."""
    found = [jnp.broadcast_to(b[0], at.shape) for b in bins]
    for k, edge in enumerate(edges):
        past = at >= edge
        found = [jnp.where(past, b[k + 1], f) for b, f in zip(bins, found, strict=True)]
    return Bin(*found)


@jax.custom_jvp
def _selected(bins: Bin, edges: jax.Array, at: jax.Array) -> Bin:
    """As `_gathered`, by going through the bins.

    The numbers of one coordinate lie side by side in memory and share its bins, so that a
    processor compares and selects many at once.
    """
    return _through(jax.tree.map(lambda b: b.T[..., None], bins), edges.T[..., None], at)


@functools.partial(_selected.defjvp, symbolic_zeros=True)
def _selected_jvp(primals, tangents):
    """Linear in the bins, as products with ones and zeros, whose transposes are products too."""
    bins, edges, at = primals
    found = _selected(bins, edges, at)
    past = at[:, None] >= edges[..., None]
    here = jnp.pad(past, ((0, 0), (1, 0), (0, 0)), constant_values=True)
    here = (here & ~jnp.pad(past, ((0, 0), (0, 1), (0, 0)))).astype(at.dtype)

    def tangent(of_bin, value):
        if isinstance(of_bin, SymbolicZero):
            return jnp.zeros_like(value)
        return jnp.einsum("dkn,dk->dn", here, of_bin)

    return found, jax.tree.map(tangent, tangents[0], found)


@jax.custom_jvp
def _selected_for_one(bins: Bin, edges: jax.Array, at: jax.Array) -> Bin:
    """As `_selected` for one event `at: [D]`, with `bins: [K, D]` and `edges: [K − 1, D]`.

    Where `jax.vmap` maps over events, the coordinates lie side by side in memory.
    """
    return _through(bins, edges, at)


@functools.partial(_selected_for_one.defjvp, symbolic_zeros=True)
def _selected_for_one_jvp(primals, tangents):
    """Linear in the bins, as a loop through them, whose transpose sums over events bin by bin."""
    bins, edges, at = primals
    found = _selected_for_one(bins, edges, at)
    if all(isinstance(tangent, SymbolicZero) for tangent in tangents[0]):
        return found, jax.tree.map(jnp.zeros_like, found)

    # To compare again is faster than to keep what was found, in a loop over layers by far.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def pass_edge(found, row):
        edge, of_bin = row
        past = at >= edge
        return jax.tree.map(lambda b, f: jnp.where(past, b, f), of_bin, found), None

    of_bins = Bin(
        *(
            jnp.zeros_like(b) if isinstance(tangent, SymbolicZero) else tangent
            for tangent, b in zip(tangents[0], bins, strict=True)
        )
    )
    first = jax.tree.map(lambda b: b[0], of_bins)
    rest = jax.tree.map(lambda b: b[1:], of_bins)
    return found, jax.lax.scan(pass_edge, first, (edges, rest))[0]


def _apart(function: Callable, bins: Bin, *args):
    """`function(bins, *args)`, computed once.

    XLA's CPU backend would put all of it into each loop that uses a result. It does not look into
    branches; the other one is never taken, as widths and heights are positive.
    """
    shapes = jax.eval_shape(function, bins, *args)

    def not_a_number(*_):
        return jax.tree.map(lambda a: jnp.full(a.shape, jnp.nan, a.dtype), shapes)

    return jax.lax.cond(bins.width[0, 0] > 0, function, not_a_number, bins, *args)


def _piecewise(function: Callable, at: jax.Array, knots: Knots, marks: jax.Array):
    """`function(at, first, last, bin)` with the outermost knots and the bin that holds each number.

    Args:
      function: elementwise, with two results.
      at: `[..., D]`.
      knots: arrays `[D, K + 1]`.
      marks: of these, the one that `at` lies between.
    """
    if marks.shape[1] - 1 <= SELECTED_BINS and at.ndim == 1:
        return _piecewise_for_one(function, at, knots, marks)

    def apply(lookup, bins, at, first, last, edges):
        of = lookup(bins, *jax.lax.stop_gradient((edges, at)))
        return function(at, first, last, of)

    evaluate = gathered = functools.partial(apply, _gathered)
    if marks.shape[1] - 1 <= SELECTED_BINS:
        selected = functools.partial(_apart, functools.partial(apply, _selected))
        # In a loop over layers, to keep what lies between takes longer than to compute it again.
        evaluate = jax.checkpoint(
            functools.partial(jax.lax.platform_dependent, cpu=selected, default=gathered),
            prevent_cse=False,
        )
    columns = at.reshape(-1, at.shape[-1]).T
    first, last = (Knots(*(a[:, i, None] for a in knots)) for i in (0, -1))
    found = evaluate(_bins(knots), columns, first, last, marks[:, 1:-1])
    return tuple(a.T.reshape(at.shape) for a in found)


def _piecewise_for_one(function: Callable, at: jax.Array, knots: Knots, marks: jax.Array):
    """`_piecewise` of one event, `at: [D]`, which `jax.vmap` may make many."""

    def gathered(bins, edges, at):
        return jax.tree.map(lambda a: a[:, 0], _gathered(bins, edges, at[:, None]))

    def selected(bins, edges, at):
        return _apart(_selected_for_one, jax.tree.map(jnp.transpose, bins), edges.T, at)

    bins, edges = _bins(knots), marks[:, 1:-1]
    of = jax.lax.platform_dependent(
        bins, *jax.lax.stop_gradient((edges, at)), cpu=selected, default=gathered
    )
    first, last = (Knots(*(a[:, i] for a in knots)) for i in (0, -1))
    return jax.checkpoint(function)(at, first, last, of)


def _evaluate(x: jax.Array, first: Knots, last: Knots, of: Bin):
    """The value and the log-slope at x; beyond the outermost knots: tails."""
    inside = jnp.clip(x, first.x, last.x)
    y, slope = evaluate_bin(inside, of)
    # Where clipping took something off, the slope above is that of the end.
    return y + (x - inside) * slope, jnp.log(slope)


def _invert(y: jax.Array, first: Knots, last: Knots, of: Bin):
    """The x with the value y, and the log-slope there; beyond the outermost knots: tails."""
    x = invert_bin(jnp.clip(y, first.y, last.y), of)
    slope = evaluate_bin(x, of)[1]
    # The tails start at the outermost knots themselves: near them, the slope at a rounded x may be
    # another one.
    is_below, is_above = y < first.y, y > last.y
    end = jax.tree.map(lambda a, b: jnp.where(is_below, a, b), first, last)
    outside = is_below | is_above
    slope = jnp.where(outside, end.slope, slope)
    return jnp.where(outside, end.x + (y - end.y) / slope, x), jnp.log(slope)


def rational_quadratic(x: jax.Array, knots: Knots) -> tuple[jax.Array, jax.Array]:
    """The spline's value and the logarithm of its slope; for the formula see `evaluate_bin`.

    Args:
      x: `[..., D]`.
      knots: arrays `[D, K + 1]`.

    Returns:
      `y` and `log dy/dx`, both `[..., D]`.
    """
    return _piecewise(_evaluate, x, knots, knots.x)


def inverse_rational_quadratic(y: jax.Array, knots: Knots) -> tuple[jax.Array, jax.Array]:
    """Solves `rational_quadratic(x, knots)[0] = y`, a quadratic equation in each bin.

    Args:
      y: `[..., D]`.
      knots: arrays `[D, K + 1]`.

    Returns:
      `x` and `log dy/dx` there, both `[..., D]`.
    """
    return _piecewise(_invert, y, knots, knots.y)


class RationalQuadraticSpline(Transform):
    """`z_i = f_i(x_i)`, a monotone rational-quadratic spline for each coordinate.

    K bins of trained widths cover [−T, T]; the values and slopes at the knots are trained, and the
    tails are linear. All parameters at zero are the identity, which is where it starts.

    Args:
      event_shape: shape of one `x`.
      num_bins: K.
      bound: T.
      init: `identity`, or `quantiles`: `fit` makes the marginals of the data about standard
        normal, as a step of Gaussianization does (Chen, Gopinath, "Gaussianization", NeurIPS 2000).

    Raises:
      ValueError: on fewer than 2 bins, a bound that is not positive, or an unknown init.
    """

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        num_bins: int = 16,
        bound: float = 6.0,
        init: str = "identity",
    ):
        if not 2 <= num_bins <= 100:
            raise ValueError(f"{type(self).__name__} got num_bins {num_bins}, expected 2 to 100.")
        if not bound > 0:
            raise ValueError(
                f"{type(self).__name__} got bound {bound}, expected a positive number."
            )
        check_init(init)
        self.event_shape = tuple(event_shape)
        self.bound, self.init = float(bound), init
        self.widths = nnx.Param(jnp.zeros((*self.event_shape, num_bins)))
        self.heights = nnx.Param(jnp.zeros((*self.event_shape, num_bins)))
        self.slopes = nnx.Param(jnp.zeros((*self.event_shape, num_bins + 1)))
        self.shift = nnx.Param(jnp.zeros(self.event_shape))

    def knots(self, dtype) -> Knots:
        """The splines as arrays `[D, K + 1]`, one row for each coordinate."""
        rows = [
            parameter[...].astype(dtype).reshape(-1, parameter.shape[-1])
            for parameter in (self.widths, self.heights, self.slopes)
        ]
        return make_knots(*rows, self.shift[...].astype(dtype).reshape(-1, 1), self.bound)

    def _apply(self, function, a: jax.Array, sign: int) -> tuple[jax.Array, jax.Array]:
        # A bin's share of the interval is below the resolution of half precision.
        dtype = jnp.promote_types(a.dtype, jnp.float32)
        flat = a.astype(dtype).reshape(*batch_shape(a, self.event_shape), -1)
        b, log_slope = function(flat, self.knots(dtype))
        return b.reshape(a.shape).astype(a.dtype), (sign * log_slope.sum(-1)).astype(a.dtype)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        return self._apply(rational_quadratic, x, 1)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        return self._apply(inverse_rational_quadratic, z, -1)

    @property
    def fit_rows(self) -> int | None:
        return QUANTILE_ROWS if self.init == "quantiles" else 0

    def fit(self, x, context=None):
        self.check_event(x)
        rows = np.asarray(x, np.float64).reshape(-1, self.shift.size)
        raw = quantile_knots(rows, ndtri, self.widths.shape[-1], self.bound)
        for parameter, value in zip(
            (self.widths, self.heights, self.slopes, self.shift), raw, strict=True
        ):
            parameter[...] = jnp.asarray(value, parameter.dtype).reshape(parameter.shape)


def make_knots(
    widths: jax.Array, heights: jax.Array, slopes: jax.Array, shift: jax.Array, bound: float
) -> Knots:
    """Knots from real parameters; zeros give the identity.

    Args:
      widths, heights: `[..., K]`.
      slopes: `[..., K + 1]`.
      shift: `[..., 1]`, of all values.
      bound: the knots lie in [−bound, bound].
    """
    num_bins = widths.shape[-1]
    share = MIN_WIDTH + (1 - num_bins * MIN_WIDTH) * jax.nn.softmax(widths)
    x = bound * (2 * _cumulative(share) - 1)
    # The sum of the shares is 1 up to rounding.
    x = x.at[..., -1].set(bound)
    y = bound * (2 * _cumulative(positive(heights)) / num_bins - 1) + shift
    return Knots(x, y, positive(slopes))


def _cumulative(steps: jax.Array) -> jax.Array:
    padding = [(0, 0)] * (steps.ndim - 1) + [(1, 0)]
    return jnp.pad(jnp.cumsum(steps, -1), padding)


def check_init(init: str) -> None:
    """Raises ValueError unless `init` is `identity` or `quantiles`."""
    if init not in ("identity", "quantiles"):
        raise ValueError(f"init is {init!r}, expected identity or quantiles.")


def quantile_knots(
    x: np.ndarray, quantile: Callable[[np.ndarray], np.ndarray], num_bins: int, bound: float
) -> tuple[np.ndarray, ...]:
    """Parameters of splines that give each column of `x: [N, D]` about the same distribution.

    Args:
      x: data about within [−bound, bound].
      quantile: the quantile function of the distribution wanted.
      num_bins: K.
      bound: as in `make_knots`.

    Returns:
      Arguments of `make_knots`: widths, heights, slopes, with the columns first, and shifts `[D]`.
    """
    # Beyond some ten data points a quantile is noise; there the spline goes on straight.
    reach = -ndtri(min(0.1, 10 / len(x)))
    p = ndtr(np.linspace(-reach, reach, FINE * num_bins + 1))
    parameters = [_column(q, quantile(p), num_bins, bound) for q in np.quantile(x, p, axis=0).T]
    return tuple(np.stack(p) for p in zip(*parameters, strict=True))


def _column(quantiles: np.ndarray, wanted: np.ndarray, num_bins: int, bound: float):
    x = np.clip(quantiles[FINE:-FINE:FINE], -bound, bound)
    share = np.maximum(np.diff(x, prepend=-bound, append=bound) / (2 * bound), 2 * MIN_WIDTH)
    share /= share.sum()
    x = bound * (2 * np.concatenate([[0], np.cumsum(share)]) - 1)
    # Ties in the data would make the map a step.
    quantiles = quantiles + 1e-6 * bound * np.arange(len(wanted))
    low, high = (
        np.clip((wanted[j] - wanted[i]) / (quantiles[j] - quantiles[i]), 0.05, 1.0)
        for i, j in ((0, FINE), (-1 - FINE, -1))
    )
    y = np.interp(x, quantiles, wanted)
    y += low * np.minimum(x - quantiles[0], 0) + high * np.maximum(x - quantiles[-1], 0)
    secant = np.diff(y) / np.diff(x)
    slope = np.sqrt(np.append(secant, secant[-1]) * np.insert(secant, 0, secant[0]))
    heights = np.diff(y) * num_bins / (2 * bound)
    return (
        np.log(np.maximum(share - MIN_WIDTH, 1e-9)),
        inverse_positive(heights),
        inverse_positive(slope),
        y[0] + bound,
    )
