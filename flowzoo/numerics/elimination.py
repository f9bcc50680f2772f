"""Many small matrices at once: inverse and determinant by one elimination over all of them."""

import jax
import jax.numpy as jnp


def inverse_and_log_abs_det(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`A⁻¹` and `log|det A|` of real or complex matrices, by Gauss–Jordan with partial pivoting.

    The elimination is one loop over the columns in which all matrices take part. XLA's CPU backend
    takes 3 to 40 times as long for `jnp.linalg.inv` of a hundred complex matrices of size 48 and
    above, and the derivative of `slogdet` needs that inverse.

    Args:
      a: `[..., C, C]`.

    Returns:
      The inverses `[..., C, C]` and the logarithms `[...]`, not finite where A is singular.
    """
    shape, size = a.shape, a.shape[-1]
    a = a.reshape(-1, size, size)
    rows = jnp.arange(size)

    def eliminate(c, carry):
        a, order, log_det = carry
        column = jnp.where(rows < c, -1, jnp.abs(a[:, :, c]))
        pivot = jnp.argmax(column, -1)
        a, order = _swap(a, c, pivot), _swap(order, c, pivot)
        value = a[:, c, c]
        # The column that becomes one of the identity's makes room for the inverse's.
        row = a[:, c].at[:, c].set(1) / value[:, None]
        factor = a[:, :, c].at[:, c].set(0)
        a = a.at[:, :, c].set(0) - factor[:, :, None] * row[:, None]
        return a.at[:, c].set(row), order, log_det + jnp.log(jnp.abs(value))

    order = jnp.broadcast_to(rows, a.shape[:2])
    start = a, order, jnp.zeros(len(a), a.real.dtype)
    a, order, log_det = jax.lax.fori_loop(0, size, eliminate, start)
    # Rows exchanged in A are columns exchanged in its inverse.
    a = jnp.take_along_axis(a, jnp.argsort(order, -1)[:, None], 2)
    return a.reshape(shape), log_det.reshape(shape[:-2])


def _swap(a: jax.Array, c: jax.Array, pivot: jax.Array) -> jax.Array:
    """Exchanges entry c of axis 1 with the entry that `pivot: [N]` names."""
    index = pivot.reshape(-1, *[1] * (a.ndim - 1))
    here, there = a[:, c], jnp.take_along_axis(a, index, 1)[:, 0]
    place = jnp.arange(a.shape[1]).reshape(1, -1, *[1] * (a.ndim - 2))
    a = jnp.where(place == index, here[:, None], a)
    return a.at[:, c].set(there)
