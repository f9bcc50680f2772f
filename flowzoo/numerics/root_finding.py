"""Inverting increasing scalar functions, elementwise."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

NEWTON_STEPS = 20
BISECTION_STEPS = 80


def invert_increasing(
    f: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    y: jax.Array,
    lower: jax.Array,
    upper: jax.Array,
) -> jax.Array:
    """Solves `f(x) = y` for each element by a bracketed Newton iteration.

    A Newton step that leaves the bracket is replaced by its midpoint; after `NEWTON_STEPS` only
    midpoints are taken, so that the iteration ends after at most `NEWTON_STEPS + BISECTION_STEPS`
    evaluations whatever `f` is. An element stops as soon as `|f(x) − y| <= 4 ε max(1, |y|)`, ε the
    rounding unit of its dtype, or when its bracket holds no further number. The result carries
    first derivatives with respect to `y` and whatever `f` closes over, by the implicit function
    theorem.

    Args:
      f: elementwise; returns the value and the derivative, which is positive.
      y: `[...]`.
      lower: `[...]`, with `f(lower) <= y`.
      upper: `[...]`, with `f(upper) >= y`.

    Returns:
      `x: [...]`.
    """
    y, lower, upper = jnp.broadcast_arrays(y, lower, upper)
    tolerance = 4 * jnp.finfo(y.dtype).eps * jnp.maximum(1, jnp.abs(y))

    def unfinished(state):
        step, _, _, _, done = state
        return (step < NEWTON_STEPS + BISECTION_STEPS) & ~jnp.all(done)

    def improve(state):
        step, x, lower, upper, done = state
        value, slope = f(x)
        residual = value - y
        lower = jnp.where(residual <= 0, x, lower)
        upper = jnp.where(residual >= 0, x, upper)
        middle = lower + (upper - lower) / 2
        newton = x - residual / slope
        inside = (newton > lower) & (newton < upper) & (step < NEWTON_STEPS)
        exhausted = (middle <= lower) | (middle >= upper)
        done = done | (jnp.abs(residual) <= tolerance) | exhausted
        x = jnp.where(done, x, jnp.where(inside, newton, middle))
        return step + 1, x, lower, upper, done

    fixed = jax.lax.stop_gradient((y, lower, upper))

    def solve(y, lower, upper):
        start = lower + (upper - lower) / 2
        done = jnp.zeros(y.shape, bool)
        return jax.lax.while_loop(unfinished, improve, (0, start, lower, upper, done))[1:4]

    x, lower, upper = jax.lax.stop_gradient(solve(*fixed))
    value, slope = f(x)
    step = (value - y) / jnp.maximum(jax.lax.stop_gradient(slope), jnp.finfo(slope.dtype).tiny)
    # A last Newton step, if it does not lead away: where f is flat, its rounding divided by the
    # slope may be as long as the bracket.
    better = jnp.clip(x - jax.lax.stop_gradient(step), lower, upper)
    error, better_error = (jnp.abs(jax.lax.stop_gradient(v) - y) for v in (value, f(better)[0]))
    x = jnp.where(better_error <= jnp.maximum(error, tolerance), better, x)
    # The derivative is that of the solution in any case.
    return x - (step - jax.lax.stop_gradient(step))


def iterate(sweep, x: jax.Array) -> jax.Array:
    """Repeats `x ← sweep(x)`, `x: [..., D]`, where entry i of the result depends on those before i.

    Ends when no entry changes by more than `4 ε max(1, |x|)`, at the latest after D sweeps, when
    the result is exact.
    """
    tolerance = 4 * jnp.finfo(x.dtype).eps
    # Entries that are not exact yet may explode; an infinity that they cause in a hidden unit
    # would, times a masked weight, be a NaN in entries that are exact.
    bound = jnp.sqrt(jnp.finfo(x.dtype).max)

    def unfinished(state):
        step, _, done = state
        return (step < x.shape[-1]) & ~done

    def improve(state):
        step, x, _ = state
        new = jnp.clip(sweep(x), -bound, bound).astype(x.dtype)
        done = jnp.all(jnp.abs(new - x) <= tolerance * jnp.maximum(1, jnp.abs(new)))
        return step + 1, new, done

    return jax.lax.while_loop(unfinished, improve, (0, x, jnp.array(False)))[1]


def solve_unit_triangular(matvec, b: jax.Array) -> jax.Array:
    """Solves `(I + N) v = b`, N strictly lower (or upper) triangular, for `matvec(v) = v + N v`."""
    return solve_by_sweeps(iterate, matvec, b)


def solve_by_sweeps(repeat: Callable, matvec: Callable, b: jax.Array) -> jax.Array:
    """Solves `(I + J) v = b` for `matvec(v) = v + J v`, where `v ← b − J v` converges.

    Args:
      repeat: `repeat(sweep, start)` is what the sweep `v ← sweep(v)` converges to.
      matvec: linear.
      b: the right-hand side.
    """

    def solve(matvec, b):
        # Scaled to order one, so that the tolerance of `repeat` is relative to b.
        scale = jnp.max(jnp.abs(b), axis=-1, keepdims=True)
        scale = jnp.where(scale > 0, scale, 1)
        return scale * repeat(lambda v: b / scale + v - matvec(v), b / scale)

    return jax.lax.custom_linear_solve(matvec, b, solve, transpose_solve=solve)
