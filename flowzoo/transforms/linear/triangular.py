"""The Gaussian with full covariance, as an affine map onto a standard normal."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.shapes import check_context
from flowzoo.transforms.linear.whiten import whitening
from flowzoo.transforms.transform import Transform


class Triangular(Transform):
    """`z = U_c (x − μ_c)`, U upper triangular with a positive diagonal; `log_det = Σ log U_ii`.

    With a standard normal base this is the Gaussian `N(μ_c, (U_cᵀ U_c)⁻¹)`. It starts as N(0, I);
    `initialize` sets the maximum-likelihood estimate in closed form; training keeps U invertible.

    The context is either a class (one-hot), with its own μ and U, or real features on which the
    mean depends linearly, `μ_c = μ + A c`, U being the same for all.

    Args:
      dim: D.
      context_size: number of classes or of features, 0 for no context.
      per_class: whether the context is a class.
      shrinkage: λ in `Σ = (1 − λ) S + λ (tr S / D) I`, S the sample covariance.

    Attributes:
      mean: `[K, D]`, K the number of classes, else 1.
      weight: `[K, D, D]`, of which the part above the diagonal counts.
      log_diagonal: `[K, D]`.
      context_weight: Aᵀ: `[context_size, D]`, or None.
    """

    fit_rows = None

    def __init__(
        self,
        dim: int,
        *,
        context_size: int = 0,
        per_class: bool = False,
        shrinkage: float = 1e-6,
    ):
        self.event_shape = (dim,)
        self.context_size = context_size
        self.per_class = bool(per_class)
        self.shrinkage = float(shrinkage)
        num_classes = context_size if per_class else 1
        linear = context_size and not per_class
        self.mean = nnx.Param(jnp.zeros((num_classes, dim)))
        self.weight = nnx.Param(jnp.zeros((num_classes, dim, dim)))
        self.log_diagonal = nnx.Param(jnp.zeros((num_classes, dim)))
        self.context_weight = nnx.Param(jnp.zeros((context_size, dim))) if linear else None

    def fit(self, x, context=None):
        """Sets the maximum-likelihood estimate in place, computed in float64.

        Raises:
          ValueError: if a class has no data, or the data do not vary in some direction.
        """
        self.check_event(x)
        data = np.asarray(x, np.float64)
        groups = [data]
        if self.per_class:
            labels = np.argmax(context, axis=-1)
            groups = [data[labels == k] for k in range(self.context_size)]
        elif self.context_weight is not None:
            features = np.asarray(context, np.float64)
            centered = features - features.mean(0)
            slope = np.linalg.lstsq(centered, data - data.mean(0))[0]
            groups = [data - features @ slope]
            self.context_weight[...] = jnp.asarray(slope, jnp.float32)
        fits = []
        for k, group in enumerate(groups):
            if not len(group):
                raise ValueError(f"The training data hold no row of class {k}, expected some.")
            mean, values, vectors = whitening(group, shrinkage=self.shrinkage)
            upper = np.linalg.qr((vectors / np.sqrt(values)).T, mode="r")
            fits.append((mean, upper * np.sign(np.diagonal(upper))[:, None]))
        means, uppers = (np.stack(parts) for parts in zip(*fits, strict=True))
        self.mean[...] = jnp.asarray(means, jnp.float32)
        self.weight[...] = jnp.asarray(np.triu(uppers, 1), jnp.float32)
        diagonals = np.diagonal(uppers, axis1=1, axis2=2)
        self.log_diagonal[...] = jnp.asarray(np.log(diagonals), jnp.float32)

    def _parameters(self, context):
        """μ `[..., K, D]`, U `[K, D, D]` and which class it is, one-hot `[..., K]`."""
        if self.context_size:
            check_context(type(self).__name__, context, self.context_size)
        mean = self.mean[...]
        if self.context_weight is not None:
            mean = mean + (context @ self.context_weight[...])[..., None, :]
        upper = jnp.triu(self.weight[...], 1)
        upper = upper + jnp.exp(self.log_diagonal[...])[..., None] * jnp.eye(
            mean.shape[-1], dtype=mean.dtype
        )
        num_classes, dtype = mean.shape[-2], mean.dtype
        label = jnp.argmax(context, -1) if self.per_class else jnp.zeros((), int)
        return mean, upper, jax.nn.one_hot(label, num_classes, dtype=dtype)

    def _log_det(self, x, chosen):
        return self.for_each_event(chosen @ self.log_diagonal[...].sum(-1), x)

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        mean, upper, chosen = self._parameters(context)
        z = jnp.einsum("...kd,ked->...ke", x[..., None, :] - mean, upper)
        z = jnp.einsum("...ke,...k->...e", z, chosen)
        return z, self._log_det(z, chosen)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        mean, upper, chosen = self._parameters(context)
        columns = z.reshape(-1, z.shape[-1]).T

        def solve(u):
            return jax.scipy.linalg.solve_triangular(u, columns).T.reshape(z.shape)

        x = jnp.moveaxis(jax.vmap(solve)(upper), 0, -2) + mean
        x = jnp.einsum("...kd,...k->...d", x, chosen)
        return x, -self._log_det(x, chosen)
