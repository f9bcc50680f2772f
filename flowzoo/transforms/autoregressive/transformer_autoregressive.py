"""Autoregressive transforms of whole tokens, whose networks are causal transformers."""

from flax import nnx

from flowzoo.nets.causal_transformer import CausalTransformer
from flowzoo.transforms.autoregressive.masked_autoregressive import MaskedAutoregressive


class TransformerAutoregressive(MaskedAutoregressive):
    """`z_t = (x_t − μ_t(x_1 … x_{t−1}, c)) exp(−α_t(x_1 … x_{t−1}, c))` for tokens x_t.

    As `MaskedAutoregressive`, but the numbers of one token do not see each other, and μ and α come
    from a `CausalTransformer`. The inverse is `sequential`, token by token with the keys and values
    of those before kept, or `fixed_point`, all tokens at once and exact after T sweeps.

    Source: Zhai et al., "Normalizing flows are capable generative models" (TarFlow), arXiv
    2412.06329.

    Args:
      dim: D.
      num_tokens: T, a divisor of D.
      width, num_layers, num_heads, context_size: of the `CausalTransformer`.
      inverse_method: `sequential` or `fixed_point`; may be assigned to later.
      rngs: draws the weights.

    Raises:
      ValueError: if an option is unknown or `CausalTransformer` refuses one.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_tokens: int,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        context_size: int = 0,
        inverse_method: str = "sequential",
        rngs: nnx.Rngs,
    ):
        self._set(dim, context_size, inverse_method)
        self.net = CausalTransformer(
            dim,
            2,
            num_tokens=num_tokens,
            width=width,
            num_layers=num_layers,
            num_heads=num_heads,
            context_size=context_size,
            rngs=rngs,
        )
