"""Differential equations of many events, each with steps of its own; needs diffrax."""

from collections.abc import Callable
import functools
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

# Steps of the solver, accepted or not, after which it gives up.
MAX_STEPS = 4096

# `dy/dt` of the time `t: [...]`, the state `y`, what all events share, and what each has.
Field = Callable[[jax.Array, Any, Any, Any], Any]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def solve(
    field: Field, start: float, end: float, tolerance: float, y: Any, shared: Any, own: Any
) -> Any:
    """The states at `end` of the events whose states at `start` are y.

    Tsitouras' method of order 5 with steps of each event's own. The gradient is that of the steps
    that were taken: for it, all events take them again together, the k-th of each at the same time,
    so that the gradient of what they share is summed by matrix products and not event by event.
    Only a few states are kept; the others are computed again.

    Args:
      field: serves one event and many alike, and holds no arrays.
      start, end, tolerance: as of `ContinuousFlow`.
      y: arrays `[N, ...]`.
      shared: arrays that all events share.
      own: arrays `[N, ...]` or None.

    Returns:
      As y; NaN for the events for which `MAX_STEPS` steps did not suffice.
    """
    return _adaptive(field, start, end, tolerance, y, shared, own, diffrax.SaveAt(t1=True))[0]


def _solve_and_keep_steps(field, start, end, tolerance, y, shared, own):
    # Only the ends of the steps are kept, no states.
    steps = diffrax.SubSaveAt(t0=True, steps=True, fn=lambda t, y, arguments: None)
    saved = diffrax.SaveAt(subs=[diffrax.SubSaveAt(t1=True), steps])
    z, times = _adaptive(field, start, end, tolerance, y, shared, own, saved)
    return z, (y, shared, own, times)


def _gradient_of_steps(field, start, end, tolerance, kept, cotangent):
    del start, tolerance
    y, shared, own, times = kept
    _, pull = jax.vjp(lambda *arguments: _replay(field, end, times, *arguments), y, shared, own)
    return pull(cotangent)


solve.defvjp(_solve_and_keep_steps, _gradient_of_steps)


def solve_by_adjoint(
    field: Field, start: float, end: float, tolerance: float, y: Any, shared: Any, own: Any
) -> Any:
    """As `solve`; the gradient is the solution of the adjoint equation, to the same tolerance."""
    adjoint = diffrax.BacksolveAdjoint()
    saved = diffrax.SaveAt(t1=True)
    return _adaptive(field, start, end, tolerance, y, shared, own, saved, adjoint)[0]


def _adaptive(field, start, end, tolerance, y, shared, own, saved, adjoint=None):
    """The states at `end`, and the ends of all steps if they are saved."""

    times = jnp.array([start, end], jax.tree.leaves(y)[0].dtype)

    def one(y, own):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, arguments: field(t, y, *arguments)),
            diffrax.Tsit5(),
            times[0],
            times[1],
            0.1 * (times[1] - times[0]),
            y,
            (shared, own),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            adjoint=adjoint or diffrax.RecursiveCheckpointAdjoint(),
            saveat=saved,
            max_steps=MAX_STEPS,
            throw=False,
        )
        states, steps = solution.ys, None
        if isinstance(states, list):
            states, steps = states[0], solution.ts[1]
        solved = solution.result == diffrax.RESULTS.successful
        return jax.tree.map(lambda a: jnp.where(solved, a[0], jnp.nan), states), steps

    return jax.vmap(one)(y, own)


class _OwnTimes(diffrax.AbstractTerm):
    """`dy = f(τ(s), y) dτ(s)`, where `τ: [N]` goes through the times of each event's steps, from
    the k-th to the next while s goes from k to k + 1."""

    field: Callable[[jax.Array, Any, Any], Any]
    times: jax.Array

    def _time(self, s):
        step = jnp.clip(jnp.floor(s).astype(int), 0, len(self.times) - 2)
        start, end = self.times[step], self.times[step + 1]
        return start + (s - step) * (end - start)

    def vf(self, t, y, args):
        return self.field(self._time(t), y, args)

    def contr(self, t0, t1, **kwargs):
        return self._time(t1) - self._time(t0)

    def prod(self, vf, control):
        return jax.tree.map(lambda v: control.reshape(-1, *[1] * (v.ndim - 1)) * v, vf)


def _replay(field, end, times, y, shared, own):
    """The states at the end of the steps whose ends are `times: [N, MAX_STEPS + 1]`, padded with
    what is not finite."""
    taken = (jnp.isfinite(times).sum(-1).max() - 1).astype(times.dtype)
    times = jnp.where(jnp.isfinite(times), times, end).T
    solution = diffrax.diffeqsolve(
        _OwnTimes(lambda t, y, arguments: field(t, y, *arguments), times),
        diffrax.Tsit5(),
        jnp.zeros_like(taken),
        taken,
        jnp.ones_like(taken),
        y,
        (shared, own),
        stepsize_controller=diffrax.ConstantStepSize(),
        adjoint=diffrax.RecursiveCheckpointAdjoint(),
        max_steps=MAX_STEPS,
        throw=False,
    )
    return jax.tree.map(lambda a: a[0], solution.ys)
