"""Autoregressive rational-quadratic splines."""

from flax import nnx

from flowzoo.numerics.rational_quadratic import BoxSpline, num_outputs
from flowzoo.transforms.autoregressive.masked_autoregressive import Autoregressive


class SplineAutoregressive(Autoregressive):
    """`z_i = f_i(x_i; x_0 … x_{i−1}, c)`, f_i an increasing rational-quadratic spline;
    `log_det = Σ log f_i'`.

    A spline maps [−T, T] onto itself by K bins and is the identity outside. The inverse is exact,
    by either method of `Autoregressive`.

    Source: Durkan, Bekasov, Murray, Papamakarios, "Neural spline flows", NeurIPS 2019, arXiv
    1906.04032.

    Args:
      dim: D.
      num_bins: K, at least 2.
      bound: T.
      **options: those of `Autoregressive`.

    Raises:
      ValueError: if the bins or the bound are not as above, or `Autoregressive` refuses an option.
    """

    def __init__(
        self, dim: int, *, num_bins: int = 8, bound: float = 3.0, rngs: nnx.Rngs, **options
    ):
        outputs = num_outputs(type(self).__name__, num_bins, bound)
        super().__init__(dim, outputs, rngs=rngs, **options)
        self.bound = float(bound)

    def value_and_log_slope(self, x, y):
        return BoxSpline.from_outputs(y, self.bound).evaluate(x)

    def invert(self, z, y):
        return BoxSpline.from_outputs(y, self.bound).invert(z)[0]
