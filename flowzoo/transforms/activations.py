"""What a backward pass finds of the activations in a row of transforms: memory against time."""

from collections.abc import Callable, Iterable
import functools
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

# All that autodiff keeps; the input of each transform, from which the rest is computed again; or
# the output of the last transform alone, from which inverses compute what came before.
ACTIVATIONS = ("kept", "recomputed", "inverted")

# The two directions of a transform, and the other one of each.
OTHER = {
    "forward_and_log_det": "inverse_and_log_det",
    "inverse_and_log_det": "forward_and_log_det",
}


def holds_a_row(transform: nnx.Module) -> bool:
    """Whether a transform is or holds a `Chain` or a `Stack`, which sees to its own transforms."""
    return any(hasattr(module, "activations") for _, module in nnx.iter_modules(transform))


def programs(
    activations: str, method: str, transforms: Iterable[nnx.Module]
) -> list[Callable[..., tuple[jax.Array, jax.Array]]]:
    """What `(x, context)` pass one after the other, in place of `method` of each transform."""
    if activations == "kept":
        return [getattr(transform, method) for transform in transforms]
    found = []
    for held, row in itertools.groupby(transforms, holds_a_row):
        if held:
            found += [getattr(transform, method) for transform in row]
        elif activations == "recomputed":
            found += [functools.partial(recomputed, method, transform) for transform in row]
        else:
            found.append(functools.partial(inverted_chain, method, list(row)))
    return found


def recomputed(method: str, transform: nnx.Module, x, context, *, in_loop: bool = False):
    """`transform.method(x, context)`; the backward pass keeps the arguments and nothing else."""
    apply = functools.partial(_call, method)
    if in_loop or jax.default_backend() != "cpu":
        return jax.checkpoint(apply, prevent_cse=not in_loop)(transform, x, context)
    run = jax.custom_vjp(apply)

    def backward(arguments, cotangents):
        def back(arguments, cotangents):
            return _gradients(jax.vjp(apply, *arguments)[1](cotangents))

        return _as_cotangents(_apart(back, arguments, cotangents), arguments)

    run.defvjp(lambda *arguments: (apply(*arguments), arguments), backward)
    return run(transform, x, context)


def inverted_chain(method: str, transforms: list[nnx.Module], x, context):
    """`transforms`, one after the other; the backward pass keeps the last output and no other.

    Args:
      method: of the transforms, one of `OTHER`.
      transforms: in the order in which x passes them.
      x, context: as for a transform.
    """

    def apply(transforms, x, context):
        terms = []
        for transform in transforms:
            x, term = _call(method, transform, x, context)
            terms.append(term)
        return x, functools.reduce(jnp.add, terms)

    def back(transforms, z, context, dz, dlog_det):
        found, dcontext = [], jax.tree.map(jnp.zeros_like, context)
        for transform in reversed(transforms):
            step = functools.partial(_step_back, method, transform)
            z, gradients, dz, term = _apart(step, z, context, dz, dlog_det)
            found.append(_as_cotangents(gradients, transform))
            dcontext = jax.tree.map(jnp.add, dcontext, term)
        return found[::-1], dz, dcontext

    first = transforms[0]
    event_shape = first.event_shape if method == "forward_and_log_det" else first.latent_shape
    x = with_shape_of_result(lambda: apply(transforms, x, context), x, event_shape)
    return _inverted(apply, back, transforms, x, context)


def inverted_stack(apply: Callable, method: str, layers: nnx.Module, x, context, *, reverse: bool):
    """As `inverted_chain`, of layers whose arrays have a leading axis.

    Args:
      apply: what is to be differentiated, a loop over that axis, `(layers, x, context) -> z`.
      method, layers, x, context: as above.
      reverse: whether the loop begins with the last layer.
    """

    def back(layers, z, context, dz, dlog_det):
        def step(carry, layer):
            z, dz, dcontext = carry
            z, gradients, dz, term = _step_back(method, layer, z, context, dz, dlog_det)
            return (z, dz, jax.tree.map(jnp.add, dcontext, term)), gradients

        start = z, dz, jax.tree.map(jnp.zeros_like, context)
        (_, dx, dcontext), found = jax.lax.scan(step, start, layers, reverse=not reverse)
        return _as_cotangents(found, layers), dx, dcontext

    return _inverted(apply, back, layers, x, context)


def with_shape_of_result(apply: Callable, x: jax.Array, event_shape: tuple[int, ...]) -> jax.Array:
    """x in the batch axes that a context brings, and in the dtype that arrays bring, to `apply()`.

    Args:
      apply: makes the values and log-determinants `[...]` of x.
      x: `[..., *event_shape]`.
      event_shape: of x, without the batch axes.
    """
    z, log_det = jax.eval_shape(apply)
    return jnp.broadcast_to(x, (*log_det.shape, *event_shape)).astype(z.dtype)


def _call(method: str, transform: nnx.Module, x, context):
    return getattr(transform, method)(x, context)


def _step_back(method: str, transform: nnx.Module, z, context, dz, dlog_det):
    """The input of a transform that gave z; gradients in the transform, the input, the context."""
    x = _call(OTHER[method], transform, z, context)[0]
    _, backward = jax.vjp(functools.partial(_call, method), transform, x, context)
    dtransform, dx, dcontext = backward((dz, dlog_det))
    return x, _gradients(dtransform), dx, dcontext


def _apart(function: Callable, *operands):
    """`function(*operands)`, which no compiler is to take for what was computed before."""
    if jax.default_backend() != "cpu":
        return function(*jax.lax.optimization_barrier(operands))

    # XLA's CPU backend drops barriers, but does not look into branches.
    def not_a_number(*operands):
        shapes = jax.eval_shape(function, *operands)
        return jax.tree.map(lambda a: jnp.full(a.shape, jnp.nan, a.dtype), shapes)

    numbers = [a for a in jax.tree.leaves(operands) if jnp.issubdtype(a.dtype, jnp.inexact)]
    return jax.lax.cond(jnp.isnan(numbers[0].ravel()[0]), not_a_number, function, *operands)


# Integers have cotangents of a type of their own, which neither loops nor branches can return.
def _gradients(cotangents) -> list[jax.Array | None]:
    leaves = jax.tree.leaves(cotangents)
    return [None if a.dtype == jax.dtypes.float0 else a for a in leaves]


def _as_cotangents(gradients: list[jax.Array | None], arguments):
    leaves, structure = jax.tree.flatten(arguments)
    found = [
        np.zeros(a.shape, jax.dtypes.float0) if gradient is None else gradient
        for gradient, a in zip(gradients, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, found)


def _inverted(apply: Callable, back: Callable, transforms, x, context):
    run = jax.custom_vjp(apply)

    def forward(transforms, x, context):
        z, log_det = apply(transforms, x, context)
        return (z, log_det), (transforms, z, context)

    run.defvjp(forward, lambda residuals, cotangents: back(*residuals, *cotangents))
    return run(transforms, x, context)
