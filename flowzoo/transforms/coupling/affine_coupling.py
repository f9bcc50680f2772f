"""Coupling transforms: one part of an event stays as it is and says how the other is mapped."""

from abc import abstractmethod
from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.mlp import MLP
from flowzoo.numerics.shapes import sum_event
from flowzoo.numerics.smooth import bounded_log_scale, clipped
from flowzoo.transforms.coupling.mask import Masked
from flowzoo.transforms.transform import Transform


class Coupling(Transform):
    """`z_A = x_A`, `z_B = x_B ⊙ exp(s(x_A, c)) + t(x_A, c)`; `log_det = Σ s`.

    Subclasses say what the parts A and B are and compute s and t. The log-scales s are smoothly
    bounded, as in `MaskedAutoregressive`.

    Source: Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", arXiv 1605.08803.

    Attributes:
      inverse_bound: a mode, what the inverse clips `x_B` to; see `flowzoo.transforms.with_modes`.
    """

    inverse_bound: float | None = None

    @abstractmethod
    def split(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The parts `x_A` and `x_B` of `x: [..., *event_shape]`."""

    @abstractmethod
    def merge(self, kept: jax.Array, changed: jax.Array) -> jax.Array:
        """The event whose parts are `kept` and `changed`, batch axes broadcast."""

    @abstractmethod
    def scale_and_shift(
        self, kept: jax.Array, context: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """The log-scale before it is bounded, and the shift, both of the shape of `x_B`."""

    def _parameters(self, x, context):
        kept, changed = self.split(x)
        log_scale, shift = self.scale_and_shift(kept, context)
        log_scale = bounded_log_scale(log_scale)
        event_ndim = changed.ndim - (x.ndim - len(self.event_shape))
        return kept, changed, log_scale, shift, sum_event(log_scale, event_ndim)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        kept, changed, log_scale, shift, log_det = self._parameters(x, context)
        return self.merge(kept, changed * jnp.exp(log_scale) + shift), log_det

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        kept, changed, log_scale, shift, log_det = self._parameters(z, context)
        changed = clipped((changed - shift) * jnp.exp(-log_scale), self.inverse_bound)
        return self.merge(kept, changed), -log_det


class AffineCoupling(Masked, Coupling):
    """`z_i = x_i` where the mask is 1, else `z_i = x_i exp(s_i(x_A, c)) + t_i(x_A, c)`.

    s and t are two networks that see the coordinates x_A where the mask is 1, and the context.
    Their last layers start at zero, the transform at the identity.

    Sources: `Coupling`'s; Papamakarios, Pavlakou, Murray, "Masked autoregressive flow for density
    estimation", arXiv 1705.07057, for the networks.

    Args:
      mask: zeros and ones, at least one of each; its shape is the event's.
      hidden_sizes: units of each hidden layer of both networks.
      scale_activation: of s, `relu` or `tanh`; or `shared` for one network, that of t, which gives
        both.
      shift_activation: of t, `relu` or `tanh`.
      context_size: width of the context, 0 for none.
      input_bound: of the networks, see `MaskedMLP`.
      rngs: draws the weights.

    Raises:
      ValueError: if the mask is not as above, or the networks refuse an option.

    Example:
      >>> from flax import nnx
      >>> import jax
      >>> from flowzoo.transforms import AffineCoupling
      >>> layer = AffineCoupling([1, 0, 1], hidden_sizes=(16,), rngs=nnx.Rngs(0))
      >>> z, log_det = layer.forward_and_log_det(jax.numpy.ones((5, 3)))
      >>> z.shape, log_det.shape
      ((5, 3), (5,))
    """

    def __init__(
        self,
        mask,
        *,
        hidden_sizes: Sequence[int] = (512,),
        scale_activation: str = "tanh",
        shift_activation: str = "relu",
        context_size: int = 0,
        input_bound: float | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(mask)
        self.context_size = context_size

        def net(activation, num_outputs):
            return MLP(
                self.num_kept,
                num_outputs,
                hidden_sizes=hidden_sizes,
                activation=activation,
                context_size=context_size,
                input_bound=input_bound,
                zero_output=True,
                rngs=rngs,
            )

        shared = scale_activation == "shared"
        self.scale_net = None if shared else net(scale_activation, self.num_changed)
        self.shift_net = net(shift_activation, self.num_changed * (1 + shared))

    def scale_and_shift(self, kept, context):
        shift = self.shift_net(kept, context)
        if self.scale_net is None:
            return shift[..., : self.num_changed], shift[..., self.num_changed :]
        return self.scale_net(kept, context), shift
