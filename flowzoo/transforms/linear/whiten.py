"""Whitening: a fixed affine map of a whole vector, fitted to data."""

import warnings

import jax.numpy as jnp
import numpy as np

from flowzoo.numerics.variables import Constant
from flowzoo.transforms.transform import Mark, Transform


class Whiten(Transform):
    """`z = Σ^{-1/2} (x − μ)`, fixed; `log_det = −½ log det Σ`.

    The identity until `initialize` sets μ and Σ from training data. With a standard normal base it
    is the Gaussian fitted to the data. Before a trained dense layer it is that layer's starting
    value, kept apart so that what is trained starts at the identity: Adam scales each entry of a
    gradient by itself, and the relative gradient `G Wᵀ W` of an ill-conditioned W gives it mostly
    directions in which the data hardly vary.

    Warns:
      UserWarning: by `forward`, until it or a copy of it was given data.

    Args:
      dim: D.
      center: whether μ is subtracted; if not, μ = 0 and Σ is the second moment.
      shrinkage: λ of `whitening`.

    Raises:
      ValueError: unless 0 <= λ <= 1.
    """

    fit_rows = None

    def __init__(self, dim: int, *, center: bool = True, shrinkage: float = 1e-4):
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"Whiten got shrinkage {shrinkage}, expected a number in [0, 1].")
        self.event_shape = (dim,)
        self.center, self.shrinkage = bool(center), float(shrinkage)
        self.mean = Constant(jnp.zeros(dim))
        self.weight = Constant(jnp.eye(dim))
        self.inverse_weight = Constant(jnp.eye(dim))
        self.log_det = Constant(jnp.zeros(()))
        self.mark = Mark()

    def fit(self, x, context=None):
        self.check_event(x)
        mean, values, vectors = whitening(x, center=self.center, shrinkage=self.shrinkage)
        x = jnp.asarray(x)
        self.mean[...] = jnp.asarray(mean, x.dtype)
        self.weight[...] = jnp.asarray((vectors / np.sqrt(values)) @ vectors.T, x.dtype)
        self.inverse_weight[...] = jnp.asarray((vectors * np.sqrt(values)) @ vectors.T, x.dtype)
        self.log_det[...] = jnp.asarray(-0.5 * np.log(values).sum(), x.dtype)
        self.mark.fitted = True

    def forward_and_log_det(self, x, context=None):
        self.check_event(x)
        if not self.mark.fitted:
            warnings.warn(
                "The whitening of this flow was given no data and changes nothing: call "
                "flow.initialize(x) with the training data before training, or build the flow with "
                "whiten=False.",
                stacklevel=2,
            )
        return (x - self.mean[...]) @ self.weight[...], self.for_each_event(self.log_det[...], x)

    def inverse_and_log_det(self, z, context=None):
        self.check_latent(z)
        x = z @ self.inverse_weight[...] + self.mean[...]
        return x, self.for_each_event(-self.log_det[...], z)


def whitening(
    x: np.ndarray, *, center: bool = True, shrinkage: float = 1e-4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and eigendecomposition of the covariance `Σ = (1 − λ) S + λ (tr S / D) I`, in float64.

    Args:
      x: `[N, D]`, of sample covariance S.
      center: whether to subtract the mean; if not, it is zero and S the second moment.
      shrinkage: λ in [0, 1]; above zero, Σ is positive definite even where S is not.

    Returns:
      Mean `[D]`, eigenvalues `[D]` and eigenvectors `[D, D]`, in columns.

    Raises:
      ValueError: if the data do not vary in some direction and λ is zero, or not at all.
    """
    x = np.asarray(x)
    mean = x.mean(0, dtype=np.float64) if center else np.zeros(x.shape[1])
    covariance = np.zeros((x.shape[1], x.shape[1]))
    for chunk in np.array_split(x, 1 + len(x) // 10_000):
        centered = chunk.astype(np.float64) - mean
        covariance += centered.T @ centered / len(x)
    scale = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(
        (1 - shrinkage) * covariance + shrinkage * scale * np.eye(len(covariance))
    )
    if not values.min() > 0:
        raise ValueError(
            "Whitening got data that do not vary in some direction; pass a shrinkage above 0, or "
            "leave out constant columns."
        )
    return mean, values, vectors
