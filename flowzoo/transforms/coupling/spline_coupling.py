"""Couplings by rational-quadratic splines."""

from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp

from flowzoo.nets.mlp import MLP
from flowzoo.numerics.rational_quadratic import BoxSpline, num_outputs
from flowzoo.transforms.coupling.mask import Masked


class SplineCoupling(Masked):
    """`z_i = f_i(x_i; x_A, c)` where the mask is 0, else `z_i = x_i` or `f_i(x_i)`; each f_i an
    increasing rational-quadratic spline. `log_det = Σ log f_i'`.

    A spline maps [−T, T] onto itself by K bins and is the identity outside. Those of the changed
    coordinates come from a network that sees the kept ones, x_A, and the context. Its last layer
    starts at zero, the transform at the identity.

    Source: Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", NeurIPS 2019, arXiv
    1906.04032.

    Args:
      mask: zeros and ones, at least one of each; its shape is the event's.
      num_bins: K, at least 2.
      bound: T.
      hidden_sizes, activation, residual: of the `MLP`.
      map_kept: whether the kept coordinates are mapped too, by splines that depend on nothing.
      context_size: width of the context, 0 for none.
      rngs: draws the weights.

    Raises:
      ValueError: if the mask, the bins or the bound are not as above, or the network refuses an
        option.

    Example:
      >>> from flax import nnx
      >>> import jax
      >>> from flowzoo.transforms import SplineCoupling
      >>> layer = SplineCoupling([1, 0, 1], hidden_sizes=(16,), rngs=nnx.Rngs(0))
      >>> z, log_det = layer.forward_and_log_det(jax.numpy.ones((5, 3)))
      >>> z.shape, log_det.shape
      ((5, 3), (5,))
    """

    def __init__(
        self,
        mask,
        *,
        num_bins: int = 8,
        bound: float = 3.0,
        hidden_sizes: Sequence[int] = (512,),
        activation: str = "relu",
        residual: bool = False,
        map_kept: bool = False,
        context_size: int = 0,
        rngs: nnx.Rngs,
    ):
        super().__init__(mask)
        outputs = num_outputs(type(self).__name__, num_bins, bound)
        self.bound, self.context_size = float(bound), context_size
        self.net = MLP(
            self.num_kept,
            outputs * self.num_changed,
            hidden_sizes=hidden_sizes,
            activation=activation,
            residual=residual,
            context_size=context_size,
            zero_output=True,
            rngs=rngs,
        )
        self.kept = nnx.Param(jnp.zeros((outputs, self.num_kept))) if map_kept else None

    def _spline(self, kept: jax.Array, context: jax.Array | None) -> BoxSpline:
        y = self.net(kept, context)
        return BoxSpline.from_outputs(y.reshape(*y.shape[:-1], -1, self.num_changed), self.bound)

    def _map_kept(self, method: str, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
        if self.kept is None:
            return kept, jnp.zeros(kept.shape[:-1], kept.dtype)
        spline = BoxSpline.from_outputs(self.kept[...].astype(kept.dtype), self.bound)
        mapped, log_slope = getattr(spline, method)(kept)
        return mapped, log_slope.sum(-1)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        kept, changed = self.split(x)
        changed, log_slope = self._spline(kept, context).evaluate(changed)
        kept, log_det = self._map_kept("evaluate", kept)
        return self.merge(kept, changed), log_slope.sum(-1) + log_det

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        kept, changed = self.split(z)
        kept, log_det = self._map_kept("invert", kept)
        changed, log_slope = self._spline(kept, context).invert(changed)
        return self.merge(kept, changed), -log_slope.sum(-1) - log_det
