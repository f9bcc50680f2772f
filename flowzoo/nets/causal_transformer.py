"""A transformer in which each token sees only those before it."""

from collections.abc import Callable
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.numerics.shapes import check_context
from flowzoo.numerics.smooth import tamed

# Larger inputs are no news to a layer norm, but their squares would overflow.
INPUT_BOUND = 1e4


class CausalTransformer(nnx.Module):
    """`y_t = f_t(x_1 … x_{t−1}, c)` for T tokens of d numbers: pre-norm attention and MLPs.

    Token t enters at place t + 1, the first place has none. Each layer is `h ← h + A(n(h))`, then
    `h ← h + B(n(h))` with causal attention A of several heads and an MLP B four times as wide, n a
    layer norm. The outputs start at zero.

    Args:
      dim: D = T d, of x; token t is `x_{td} … x_{td + d − 1}`.
      num_outputs: k, of each of the D numbers.
      num_tokens: T.
      width: of h.
      num_layers: of attention and MLP each.
      num_heads: of each attention.
      context_size: width of the context c, which is added to every token, 0 for none.
      rngs: draws the weights.

    Raises:
      ValueError: if the tokens do not divide x or the heads the width.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv 1706.03762.
    """

    def __init__(
        self,
        dim: int,
        num_outputs: int,
        *,
        num_tokens: int,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        if num_tokens < 1 or dim % num_tokens:
            raise ValueError(
                f"CausalTransformer got {num_tokens} tokens, expected a divisor of {dim}."
            )
        if num_heads < 1 or num_layers < 1 or width < 1 or width % num_heads:
            raise ValueError(
                f"CausalTransformer got {num_layers} layers of width {width} with {num_heads} "
                "heads, expected at least one of each and heads that divide the width."
            )
        self.dim, self.num_outputs, self.num_tokens = dim, num_outputs, num_tokens
        self.width, self.context_size = width, context_size
        size = dim // num_tokens
        self.embed = nnx.Linear(size, width, rngs=rngs)
        self.positions = nnx.Param(0.02 * jax.random.normal(rngs.params(), (num_tokens, width)))
        self.context = (
            nnx.Linear(context_size, width, use_bias=False, rngs=rngs) if context_size else None
        )
        self.layers = nnx.List([_Layer(width, num_heads, rngs=rngs) for _ in range(num_layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.out = nnx.Linear(
            width, num_outputs * size, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def _about(self, context) -> jax.Array | float:
        if self.context is None:
            return 0.0
        check_context(type(self).__name__, context, self.context_size)
        return self.context(context)

    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """`y: [..., k, D]` of `x: [..., D]`."""
        tokens = tamed(x, INPUT_BOUND).reshape(*x.shape[:-1], self.num_tokens, -1)
        # The last token is seen by none.
        h = self.embed(tokens[..., :-1, :])
        h = jnp.pad(h, [(0, 0)] * (h.ndim - 2) + [(1, 0), (0, 0)]) + self.positions[...]
        if self.context is not None:
            h = h + self._about(context)[..., None, :]
        seen = jnp.tril(jnp.ones((self.num_tokens, self.num_tokens), bool))
        for layer in self.layers:
            queries, *keys_and_values = layer.project(h)
            h = layer.finish(h, queries, *keys_and_values, seen)
        y = self.out(self.norm(h)).reshape(*h.shape[:-1], self.num_outputs, -1)
        return y.swapaxes(-2, -3).reshape(*h.shape[:-2], self.num_outputs, self.dim)

    def generate(
        self,
        step: Callable[..., jax.Array],
        inputs: tuple[jax.Array, ...],
        context: jax.Array | None = None,
    ) -> jax.Array:
        """Makes `x_t = step(y_t, *inputs_t)` token by token, in about the work of one call.

        Keys and values of the tokens so far are kept.

        Args:
          step: elementwise, maps `y: [k, n]` and one vector `[n]` of each of `inputs` to `[n]`.
          inputs: arrays `[..., D]` of one shape.
          context: `[..., C]`, batch axes broadcasting to those of the inputs.

        Returns:
          `x: [..., D]`.
        """
        shape = inputs[0].shape
        batch, size = math.prod(shape[:-1]), self.dim // self.num_tokens
        about = self._about(context)
        if self.context is not None:
            about = jnp.broadcast_to(about, (*shape[:-1], self.width)).reshape(batch, self.width)
        inputs = [jnp.moveaxis(a.reshape(batch, self.num_tokens, size), 1, 0) for a in inputs]
        dtype = jnp.result_type(*inputs, self.positions[...])
        empty = jnp.zeros((batch, self.num_tokens, self.width), dtype)

        def make(carry, one):
            t, before, caches = carry
            position, inputs = one
            h = jnp.where(t > 0, self.embed(tamed(before, INPUT_BOUND)), 0) + position + about
            h, kept = h[:, None], []
            for layer, cache in zip(self.layers, caches, strict=True):
                queries, *new = layer.project(h)
                cache = [
                    jax.lax.dynamic_update_slice_in_dim(a, b.astype(dtype), t, 1)
                    for a, b in zip(cache, new, strict=True)
                ]
                h = layer.finish(h, queries, *cache, jnp.arange(self.num_tokens)[None] <= t)
                kept.append(cache)
            y = self.out(self.norm(h[:, 0])).reshape(batch, self.num_outputs, size)
            y = y.swapaxes(0, 1).reshape(self.num_outputs, batch * size)
            x = step(y, *(a.reshape(-1) for a in inputs)).reshape(batch, size).astype(dtype)
            return (t + 1, x, kept), x

        start = (jnp.int32(0), jnp.zeros((batch, size), dtype), [[empty, empty]] * len(self.layers))
        _, x = jax.lax.scan(make, start, (self.positions[...], inputs))
        return jnp.moveaxis(x, 0, 1).reshape(shape)


class _Layer(nnx.Module):
    """Attention and an MLP, each added to what it sees."""

    def __init__(self, width: int, num_heads: int, *, rngs: nnx.Rngs):
        self.num_heads = num_heads
        self.attention_norm = nnx.LayerNorm(width, rngs=rngs)
        self.projections = nnx.Linear(width, 3 * width, rngs=rngs)
        self.attention_out = nnx.Linear(width, width, rngs=rngs)
        self.mlp_norm = nnx.LayerNorm(width, rngs=rngs)
        self.mlp_in = nnx.Linear(width, 4 * width, rngs=rngs)
        self.mlp_out = nnx.Linear(4 * width, width, rngs=rngs)

    def project(self, h: jax.Array) -> list[jax.Array]:
        """Queries, keys and values, each of the shape of `h: [..., T, width]`."""
        return jnp.split(self.projections(self.attention_norm(h)), 3, -1)

    def finish(self, h, queries, keys, values, seen) -> jax.Array:
        """The layer's result, of its projections; `seen: [queries, keys]`."""
        queries, keys, values = (
            a.reshape(*a.shape[:-1], self.num_heads, -1) for a in (queries, keys, values)
        )
        scores = jnp.einsum("...qhd,...khd->...hqk", queries, keys) / queries.shape[-1] ** 0.5
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
        mixed = jnp.einsum("...hqk,...khd->...qhd", weights, values)
        h = h + self.attention_out(mixed.reshape(*mixed.shape[:-2], -1))
        return h + self.mlp_out(jax.nn.gelu(self.mlp_in(self.mlp_norm(h))))
