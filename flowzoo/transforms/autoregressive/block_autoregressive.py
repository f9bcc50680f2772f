"""Block neural autoregressive flows: one network whose blocks keep each coordinate's map rising."""

from collections.abc import Sequence
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.root_finding import invert_increasing
from flowzoo.numerics.shapes import check_context
from flowzoo.transforms.autoregressive.masked_autoregressive import Autoregressive


class BlockAutoregressive(Autoregressive):
    """`z = g x + (1 − g) N(x, c)`, N a tanh network, `0 < g < 1` for each coordinate;
    `log_det = Σ log ∂z_i/∂x_i`.

    Each hidden layer has some units for each coordinate. A unit of coordinate i sees units of the
    coordinates before by any weights and those of i by positive ones, so that `∂N_i/∂x_i > 0` and
    `∂N_i/∂x_j = 0` for `j > i`. A unit's weights have the length `exp(gain)`.

    The source has the gate g on all flows of a stack but the last, whose range is therefore
    bounded; here all have one, so that each is a bijection of ℝ^D. It also keeps slopes above g.

    The inverse takes sweeps over all coordinates, `fixed_point` of `Autoregressive`: each solves
    for all x_i at once in a bracket that follows from the bounds of tanh.

    Source: De Cao, Titov, Aziz, "Block neural autoregressive flow", UAI 2019, arXiv 1904.04676.

    Args:
      dim: D.
      hidden_units: units for each coordinate, of each hidden layer.
      context_size: width of the context, 0 for none; the first layer sees it.
      rngs: draws the weights.

    Raises:
      ValueError: unless there are hidden units.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden_units: Sequence[int] = (8, 8),
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        units = tuple(int(size) for size in hidden_units)
        if dim < 1 or not units or min(units) < 1:
            raise ValueError(
                f"BlockAutoregressive got dim {dim} and hidden_units {units}, expected positive "
                "numbers, one or more of hidden units."
            )
        self.event_shape, self.context_size = (dim,), context_size
        self.inverse_method = "fixed_point"
        self.gate = nnx.Param(jnp.zeros(dim))
        self.layers = nnx.List(
            [_BlockLinear(dim, *pair, rngs=rngs) for pair in itertools.pairwise((1, *units, 1))]
        )
        weight = jax.random.normal(rngs.params(), (context_size, dim * units[0]))
        scale = max(context_size, 1) ** -0.5
        self.context_weight = nnx.Param(scale * weight) if context_size else None

    def net(self, x, context=None):
        """What coordinates before i, biases and context add to the units of i: `[..., K, D]`.

        K is the number of units of a coordinate in all layers.
        """
        h, added = x[..., None], []
        for i, layer in enumerate(self.layers):
            offset = layer.from_before(h)
            if i == 0 and self.context_weight is not None:
                check_context("BlockAutoregressive", context, self.context_size)
                term = context @ self.context_weight[...]
                offset = offset + term.reshape(*term.shape[:-1], *self.event_shape, -1)
            added.append(jnp.swapaxes(offset, -1, -2))
            h = jnp.tanh(offset + layer.own(h))
        return jnp.concatenate(added, -2)

    def value_and_log_slope(self, x, y):
        ends = np.cumsum([layer.size for layer in self.layers])[:-1]
        h, slope = x[..., None], jnp.ones_like(x)[..., None]
        for i, (layer, offset) in enumerate(zip(self.layers, jnp.split(y, ends, -2), strict=True)):
            if i:
                h = jnp.tanh(h)
                slope = slope * (1 - h * h)
            h, slope = jnp.swapaxes(offset, -1, -2) + layer.own(h), layer.own(slope)
        gate = jax.nn.sigmoid(self.gate[...])
        value = gate * x + (1 - gate) * h[..., 0]
        return value, jnp.log(gate + (1 - gate) * slope[..., 0])

    def invert(self, z, y):
        gate = jax.nn.sigmoid(self.gate[...])
        # N without its offset lies within the sum of the last layer's own weights.
        reach = (1 - gate) * self.layers[-1].blocks().sum((1, 2))
        middle = z - (1 - gate) * y[..., -1, :]
        margin = 1e-5 * (1 + jnp.abs(z) + reach)

        def value_and_slope(x):
            value, log_slope = self.value_and_log_slope(x, y)
            return value, jnp.exp(log_slope)

        lower, upper = (middle - reach - margin) / gate, (middle + reach + margin) / gate
        return invert_increasing(value_and_slope, z, lower, upper)


class _BlockLinear(nnx.Module):
    """`D × m` units to `D × n` by weights `[D n, D m]`, positive in the D blocks of the diagonal.

    Args:
      dim: D.
      before: m.
      size: n.
      rngs: draws the weights.
    """

    def __init__(self, dim: int, before: int, size: int, *, rngs: nnx.Rngs):
        self.dim, self.before, self.size = dim, before, size
        shape = (dim, size, dim, before)
        self.weight = nnx.Param(jax.random.normal(rngs.params(), shape) / (dim * before) ** 0.5)
        # Logarithms; equal weights at the start.
        self.log_own = nnx.Param(jnp.full((dim, size, before), -0.5 * np.log(before)))
        self.gain = nnx.Param(jnp.zeros((dim, size)))
        self.bias = nnx.Param(0.5 * jax.random.normal(rngs.params(), (dim, size)))

    def _scaled(self) -> tuple[jax.Array, jax.Array]:
        earlier = np.tril(np.ones((self.dim, self.dim), np.float32), -1)[:, None, :, None]
        weight, own = self.weight[...] * earlier, jnp.exp(self.log_own[...])
        length = jnp.sqrt((weight**2).sum((2, 3)) + (own**2).sum(2))
        scale = jnp.exp(self.gain[...]) / length
        return weight * scale[..., None, None], own * scale[..., None]

    def blocks(self) -> jax.Array:
        """The weights of each coordinate's own units, all positive: `[D, n, m]`."""
        return self._scaled()[1]

    def own(self, h: jax.Array) -> jax.Array:
        """What units `h: [..., D, m]` add to those of the same coordinate: `[..., D, n]`."""
        return jnp.einsum("dnm,...dm->...dn", self.blocks(), h)

    def from_before(self, h: jax.Array) -> jax.Array:
        """What they add to those of later coordinates, and the biases: `[..., D, n]`."""
        weight = self._scaled()[0].reshape(self.dim * self.size, self.dim * self.before)
        flat = h.reshape(*h.shape[:-2], -1) @ weight.T
        return flat.reshape(*flat.shape[:-1], self.dim, self.size) + self.bias[...]
