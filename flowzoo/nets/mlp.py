"""Plain networks: every output sees every input."""

from collections.abc import Sequence
import itertools
import math

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.masked_mlp import ACTIVATIONS
from flowzoo.numerics.shapes import check_context
from flowzoo.numerics.smooth import check_bound, tamed


class MLP(nnx.Module):
    """`h_1 = a(W_1ᵀ x + Vᵀ c + b_1)`, `h_l = [h_{l−1} +] a(W_lᵀ h_{l−1} + b_l)`, `y = U h_L + e`.

    Hidden units lie on the last axis of every weight. That way round, the products that sum over a
    batch in the backward pass take a third to a half of the time on CPUs.

    Args:
      num_inputs: width of x.
      num_outputs: width of y.
      hidden_sizes: units of each hidden layer, at least one layer.
      activation: `relu` or `tanh`.
      residual: whether each hidden layer after the first is added to the one before it; they then
        have one size.
      context_size: width of the context c, 0 for none.
      input_bound: as for `MaskedMLP`.
      zero_output: whether U starts at zero, so that y does.
      rngs: draws the weights; biases start at zero.

    Raises:
      ValueError: if the activation is unknown, sizes are not as above, or a call gets a context of
        another width.
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        *,
        hidden_sizes: Sequence[int] = (512,),
        activation: str = "relu",
        residual: bool = False,
        context_size: int = 0,
        input_bound: float | None = None,
        zero_output: bool = False,
        rngs: nnx.Rngs,
    ):
        sizes = tuple(int(size) for size in hidden_sizes)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"hidden_sizes is {sizes}, expected one or more positive numbers.")
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation is {activation!r}, expected one of {', '.join(ACTIVATIONS)}."
            )
        if residual and len(set(sizes)) > 1:
            raise ValueError(f"A residual network got hidden_sizes {sizes}, expected equal ones.")
        check_bound("MLP", input_bound)
        self.activation, self.residual, self.context_size = activation, residual, context_size
        self.input_bound = input_bound
        gain = math.sqrt(2) if activation == "relu" else 1.0

        def draw(gain, fan_in, shape):
            return nnx.Param(gain / math.sqrt(fan_in) * jax.random.normal(rngs.params(), shape))

        first = num_inputs + context_size
        self.weights = nnx.List(
            [draw(gain, first, (num_inputs, sizes[0]))]
            + [draw(gain, before, (before, after)) for before, after in itertools.pairwise(sizes)]
        )
        self.biases = nnx.List([nnx.Param(jnp.zeros(size)) for size in sizes])
        self.context_weight = draw(gain, first, (context_size, sizes[0])) if context_size else None
        self.output_weight = draw(float(not zero_output), sizes[-1], (num_outputs, sizes[-1]))
        self.output_bias = nnx.Param(jnp.zeros(num_outputs))

    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        """`y: [..., num_outputs]` of `x: [..., num_inputs]` and `context: [..., C]`."""
        return self._output(self._hidden(x, context)[-1])

    def _hidden(self, x: jax.Array, context: jax.Array | None) -> list[jax.Array]:
        """The hidden layers, `[..., H_l]` each."""
        h = tamed(x, self.input_bound)
        layers = []
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = h @ weight[...] + bias[...]
            if i == 0 and self.context_weight is not None:
                check_context(type(self).__name__, context, self.context_size)
                a = a + context @ self.context_weight[...]
            a = ACTIVATIONS[self.activation](a)
            h = h + a if self.residual and i else a
            layers.append(h)
        return layers

    def _output(self, h: jax.Array) -> jax.Array:
        return h @ self.output_weight[...].T + self.output_bias[...]

    def divergence_weight(self) -> jax.Array | None:
        """What `value_and_divergence` needs of the weights alone: `Σ_i W_1[i] ∘ U[i]: [H_1]` or
        `W_2 ∘ Σ_i W_1[i] U[i]ᵀ: [H_1, H_2]`; None for a network that the method does not serve.

        It serves tanh networks of one or two hidden layers, not residual, of unbounded inputs.
        """
        served = self.activation == "tanh" and not self.residual and self.input_bound is None
        if not served or len(self.weights) > 2:
            return None
        # The outputs are derived by the inputs of the same places; those beyond have none.
        paired = min(len(self.weights[0]), len(self.output_weight))
        first, last = self.weights[0][:paired], self.output_weight[:paired]
        if len(self.weights) == 1:
            return (first * last).sum(0)
        return self.weights[1][...] * (first.T @ last)

    def value_and_divergence(
        self, x: jax.Array, divergence_weight: jax.Array, context: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """`y: [..., num_outputs]` and `Σ_i ∂y_i/∂x_i: [...]` over the inputs that have an output.

        The Jacobian of a network of two hidden layers is `U diag(a'_2) W_2ᵀ diag(a'_1) W_1ᵀ`. Its
        trace is a quadratic form, `a'_1ᵀ M a'_2`, M from `divergence_weight`, which costs one more
        product with an H × H matrix and no product with a basis vector.
        """
        layers = self._hidden(x, context)
        slopes = [1 - h**2 for h in layers]
        if len(slopes) == 1:
            return self._output(layers[-1]), slopes[0] @ divergence_weight
        return self._output(layers[-1]), ((slopes[0] @ divergence_weight) * slopes[1]).sum(-1)
