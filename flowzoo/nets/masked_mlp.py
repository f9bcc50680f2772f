"""Networks whose i-th output sees only the inputs before the i-th."""

from collections.abc import Callable, Sequence
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.nets.degrees import choose_degrees, masks
from flowzoo.numerics.shapes import check_context
from flowzoo.numerics.smooth import check_bound, tamed
from flowzoo.numerics.variables import Constant

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}

# Dimensions that `generate` treats between two large matrix products: of 8, 16, 32, 64 and D, 16 is
# near the fastest on two CPU cores for 100 samples, D = 63 and 784, one or two layers of 512 units.
TILE = 16

# The last layer starts this much smaller than the others, so that a flow starts near the identity.
OUTPUT_SCALE = 0.01


class MaskedMLP(nnx.Module):
    """`h_1 = a(W_1 x + V c + b_1)`, `h_l = a(W_l h_{l−1} + b_l)`, `y_j = U_j h_L + e_j`, masked.

    Inputs are numbered 0 … D − 1. A hidden unit of degree m sees the inputs before m, through units
    of degree at most m, and `y_ji` sees the units of degree at most i; so `y_ji` depends on
    `x_0 … x_{i−1}` and on the context c, which is shown to every hidden unit. Units of degree 0 see
    the context alone.

    The order of hidden units has no meaning, so they are kept sorted by degree: step i of
    `generate` then needs one block of each layer.

    Source: Germain, Gregor, Murray, Larochelle, "MADE: masked autoencoder for distribution
    estimation", arXiv 1502.03509.

    Args:
      dim: D.
      num_outputs: k, outputs for each input.
      hidden_sizes: units of each hidden layer.
      activation: `relu` or `tanh`.
      degrees: `sequential` (as equally many units of each degree as possible), `random` (drawn
        without replacement from twice as many as there are units), or one list of integers for
        each hidden layer.
      residual: whether each hidden layer after the first is added to the one before it,
        `h_l = h_{l−1} + a(W_l h_{l−1} + b_l)`. The layers then have one size and the same degrees.
      context_size: width of the context, 0 for none.
      input_bound: if given, x beyond ±input_bound is shown to the network as `tamed` has it: what
        lies far outside of all data is then not amplified by a network that extrapolates.
      rngs: draws weights and random degrees.

    Attributes:
      degrees: for each hidden layer, int32 `[H]`, sorted; saved with the model.

    Raises:
      ValueError: if an option is unknown, sizes do not fit, or the degrees leave an output without
        an input that it should have.
    """

    def __init__(
        self,
        dim: int,
        num_outputs: int,
        *,
        hidden_sizes: Sequence[int] = (512,),
        activation: str = "relu",
        degrees: str | Sequence[Sequence[int]] = "sequential",
        residual: bool = False,
        context_size: int = 0,
        input_bound: float | None = None,
        rngs: nnx.Rngs,
    ):
        sizes = tuple(int(size) for size in hidden_sizes)
        _check_options(dim, sizes, activation, residual)
        check_bound("MaskedMLP", input_bound)
        self.input_bound = input_bound
        self.dim, self.num_outputs, self.context_size = dim, num_outputs, context_size
        self.activation, self.residual = activation, residual
        layers, self.block_sizes = choose_degrees(
            degrees, dim, sizes, conditional=context_size > 0, equal=residual, rngs=rngs
        )
        self.degrees = nnx.List([Constant(jnp.asarray(layer, jnp.int32)) for layer in layers])

        def draw(gain, num_inputs, shape):
            scale = gain / np.sqrt(np.maximum(num_inputs, 1))
            return nnx.Param(scale[:, None] * jax.random.normal(rngs.params(), shape))

        gain = math.sqrt(2) if activation == "relu" else 1.0
        hidden_masks, output_mask = masks(layers, dim)
        # Sequential degrees follow from the sizes, so programs may rely on the zeros they make.
        sequential = isinstance(degrees, str) and degrees == "sequential"
        self.corners = tuple(
            _corner(mask) if sequential else (0, 0) for mask in [*hidden_masks, output_mask]
        )
        num_inputs = [mask.sum(1) for mask in hidden_masks]
        num_inputs[0] += context_size
        self.weights = nnx.List(
            [draw(gain, n, mask.shape) for n, mask in zip(num_inputs, hidden_masks, strict=True)]
        )
        self.biases = nnx.List([nnx.Param(jnp.zeros(size)) for size in sizes])
        self.context_weight = (
            draw(gain, num_inputs[0], (sizes[0], context_size)) if context_size else None
        )
        self.output_weight = draw(OUTPUT_SCALE, output_mask.sum(1), (num_outputs, dim, sizes[-1]))
        self.output_bias = nnx.Param(jnp.zeros((num_outputs, dim)))

    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """Outputs `y: [..., k, D]` of `x: [..., D]` and `context: [..., C]`."""
        activation = ACTIVATIONS[self.activation]
        hidden_masks, output_mask = masks([each[...] for each in self.degrees], self.dim)
        h = tamed(x, self.input_bound)
        for i, (weight, mask) in enumerate(zip(self.weights, hidden_masks, strict=True)):
            a = _product((weight[...] * mask)[None], h, self.corners[i])[..., 0, :]
            a = activation(_add(a, self._offset(i, context)))
            h = h + a if self.residual and i else a
        weight = self.output_weight[...] * output_mask
        return _product(weight, h, self.corners[-1]) + self.output_bias[...]

    def generate(
        self,
        step: Callable[..., jax.Array],
        inputs: tuple[jax.Array, ...],
        context: jax.Array | None = None,
    ) -> jax.Array:
        """Makes `x_i = step(y_i, *inputs_i)` one after the other, in the work of one call.

        Step i needs the hidden units of degree i only, and one column of outputs. What a tile of
        `TILE` dimensions takes from the dimensions before it is one matrix product for each layer;
        within the tile a step reads nothing but the tile.

        Args:
          step: maps `y_i: [k, B]` and the i-th entry of each of `inputs`, `[B]`, to `x_i: [B]`.
          inputs: arrays `[..., D]` of one shape.
          context: `[..., C]`, batch axes broadcasting to those of the inputs.

        Returns:
          `x: [..., D]`.
        """
        shape = inputs[0].shape
        batch = math.prod(shape[:-1])
        num_tiles = -(-self.dim // TILE)
        tile = -(-self.dim // num_tiles)
        padding = num_tiles * tile - self.dim
        sizes = [tile, *(tile * block for block in self.block_sizes)]
        weights, offsets = self._tiled_parameters(shape[:-1], num_tiles, tile, context)
        inputs = [jnp.pad(a.reshape(batch, self.dim).T, ((0, padding), (0, 0))) for a in inputs]
        inputs = [a.reshape(num_tiles, tile, batch) for a in inputs]
        dtype = jnp.result_type(*inputs, *weights, *offsets)
        activation = ACTIVATIONS[self.activation]

        def make_tile(done, tile_of):
            start, inputs, weights, offsets = tile_of
            before = [
                (weight @ a + offset).reshape(tile, -1, batch)
                for weight, a, offset in zip(weights, done, offsets, strict=True)
            ]
            within = [
                jax.lax.dynamic_slice_in_dim(weight, start * size, size, 1).reshape(tile, -1, size)
                for weight, size in zip(weights, sizes, strict=True)
            ]

            def make_one(values, one):
                i, inputs, before, within = one
                values = list(values)
                h = None
                for layer, block in enumerate(self.block_sizes):
                    a = activation(before[layer] + within[layer] @ values[layer])
                    h = h + a if self.residual and layer else a
                    values[layer + 1] = _write(values[layer + 1], h, i * block)
                y = before[-1] + within[-1] @ values[-1]
                x = step(y, *inputs).astype(dtype)
                values[0] = _write(values[0], tamed(x, self.input_bound)[None], i)
                return values, x

            values = [jnp.zeros((size, batch), dtype) for size in sizes]
            values, x = jax.lax.scan(make_one, values, (jnp.arange(tile), inputs, before, within))
            done = [
                _write(a, v, start * size) for a, v, size in zip(done, values, sizes, strict=True)
            ]
            return done, x

        done = [jnp.zeros((num_tiles * size, batch), dtype) for size in sizes]
        tiles = (jnp.arange(num_tiles), inputs, weights, offsets)
        x = jax.lax.scan(make_tile, done, tiles)[1].reshape(-1, batch)
        return x[: self.dim].T.reshape(shape)

    def _offset(self, layer: int, context: jax.Array | None) -> jax.Array:
        bias = self.biases[layer][...]
        if layer or self.context_weight is None:
            return bias
        check_context(type(self).__name__, context, self.context_size)
        return bias + context @ self.context_weight[...].T

    def _tiled_parameters(self, batch_shape, num_tiles, tile, context):
        """Weights `[tiles, rows, columns]` and offsets `[tiles, rows, B or 1]`, by degree.

        Every degree gets as many rows as the commonest one may have; rows without a unit are zero.
        No mask is needed: what a unit may not see is still zero when the unit is computed.
        """
        size = num_tiles * tile
        slots = []
        for degrees, block in zip(self.degrees, self.block_sizes, strict=True):
            start = jnp.searchsorted(degrees[...], jnp.arange(size + 1))
            slot = start[:-1, None] + jnp.arange(block)
            slots.append(jnp.where(slot < start[1:, None], slot, degrees.shape[0]).reshape(-1))

        def take(a, slot, axis):
            return jnp.take(a, slot, axis, mode="fill", fill_value=0)

        def pad(a, axis):
            widths = [(0, size - self.dim) if i == axis else (0, 0) for i in range(a.ndim)]
            return jnp.pad(a, widths)

        weights, offsets = [], []
        for i, slot in enumerate(slots):
            weight = take(self.weights[i][...], slot, 0)
            weights.append(take(weight, slots[i - 1], 1) if i else pad(weight, 1))
            offset = self._offset(i, context)
            if offset.ndim > 1:
                offset = jnp.broadcast_to(offset, (*batch_shape, offset.shape[-1]))
            offsets.append(take(offset.reshape(-1, offset.shape[-1]).T, slot, 0))
        output_weight = pad(take(self.output_weight[...], slots[-1], 2), 1)
        weights.append(output_weight.transpose(1, 0, 2))
        offsets.append(pad(self.output_bias[...], 1).T.reshape(-1, 1))
        return (
            [a.reshape(num_tiles, -1, a.shape[-1]) for a in weights],
            [a.reshape(num_tiles, a.shape[0] // num_tiles, a.shape[1]) for a in offsets],
        )


def _corner(mask: np.ndarray) -> tuple[int, int]:
    """The upper half of the rows, and the column from which on all of them are zero."""
    rows = len(mask) // 2
    return rows, int(mask[:rows].any(0).sum())


def _product(weight: jax.Array, h: jax.Array, corner: tuple[int, int]) -> jax.Array:
    """`W h: [..., k, out]` of `W: [k, out, in]`, without the work for a corner that is zero.

    A triangular matrix costs ¾ of a full one in this way; cut finer, it is no faster.
    """

    def multiply(weight, h):
        k, size, fan_in = weight.shape
        matrix = weight.reshape(k * size, fan_in).T
        if k * size > fan_in:
            # Makes W's gradient `(Xᵀ Δ)ᵀ`. XLA's CPU backend takes up to nine times as long for the
            # `Δᵀ X` that autodiff would write, where fan_in is small.
            matrix = jax.lax.optimization_barrier(matrix)
        y = h @ matrix
        return y.reshape(*y.shape[:-1], k, size)

    rows, columns = corner
    if not rows:
        return multiply(weight, h)
    upper = multiply(weight[:, :rows, :columns], h[..., :columns])
    return jnp.concatenate([upper, multiply(weight[:, rows:], h)], axis=-1)


def _add(a: jax.Array, offset: jax.Array) -> jax.Array:
    """`a + offset`: the gradient of an offset `[H]` is a product, on CPUs faster than a sum."""
    if offset.ndim > 1:
        return a + offset
    return a + jnp.ones((*a.shape[:-1], 1), a.dtype) @ offset[None]


def _write(buffer: jax.Array, rows: jax.Array, start: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(buffer, rows.astype(buffer.dtype), start, 0)


def _check_options(dim: int, sizes: tuple[int, ...], activation: str, residual: bool) -> None:
    if dim < 1:
        raise ValueError(f"MaskedMLP got dim {dim}, expected at least 1.")
    if not sizes or min(sizes) < 1:
        raise ValueError(f"hidden_sizes is {sizes}, expected one or more positive numbers.")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}.")
    if residual and len(set(sizes)) > 1:
        raise ValueError(f"A residual network got hidden_sizes {sizes}, expected equal ones.")
