"""Random keys that belong to events."""

import jax
import jax.numpy as jnp


def event_keys(key: jax.Array, x: jax.Array) -> jax.Array:
    """A random key for each event, from a key and the bits of the event.

    The same event has the same key alone, in a batch or mapped.

    Args:
      key: a JAX random key.
      x: `[..., n]`, floating point.

    Returns:
      `[...]`, keys.
    """
    batch = x.shape[:-1]
    words = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(x), jnp.uint32)
    words = words.reshape(*batch, -1)
    # Two sums modulo 2³² with random odd weights tell events apart.
    weights = jax.random.bits(key, (words.shape[-1], 2), jnp.uint32) | 1
    sums = (words[..., None] * weights).sum(-2, dtype=jnp.uint32).reshape(-1, 2)

    def one(pair):
        return jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1])

    return jax.vmap(one)(sums).reshape(batch)
