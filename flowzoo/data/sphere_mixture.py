"""Mixtures of Gaussians whose means are uniform on a sphere: data of known likelihood."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from flowzoo.data.dataset import Dataset, Split
from flowzoo.transforms.elementwise.affine import Affine

_SIZES = {"train": 20_000, "validation": 2_000, "test": 2_000}
_CHUNK = 2_000


class Entropy(NamedTuple):
    """A differential entropy in nats, and the error of its estimate (two standard errors)."""

    nats: float
    two_standard_errors: float


class SphereMixture(NamedTuple):
    """`p(x) = (1/K) Σ_k N(x; μ_k, σ² I)`.

    Attributes:
      means: μ, `[K, D]`.
      scale: σ.
    """

    means: np.ndarray
    scale: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, num_components: int, dim: int, scale: float
    ) -> "SphereMixture":
        """Means uniform on the sphere of radius √D about 0: each coordinate has variance 1."""
        means = rng.normal(size=(num_components, dim))
        means *= np.sqrt(dim) / np.linalg.norm(means, axis=1, keepdims=True)
        return cls(means, float(scale))

    def sample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """`[n, D]`."""
        k = rng.integers(len(self.means), size=n)
        return self.means[k] + self.scale * rng.normal(size=(n, self.means.shape[1]))

    def _log_joint(self, x: np.ndarray) -> np.ndarray:
        """`log p(k, x)`: `[N, K]`."""
        count, dim = self.means.shape
        squares = (x**2).sum(1)[:, None] - 2 * x @ self.means.T + (self.means**2).sum(1)
        constant = dim * np.log(self.scale * np.sqrt(2 * np.pi)) + np.log(count)
        return -0.5 * squares / self.scale**2 - constant

    def log_prob(self, x: np.ndarray) -> np.ndarray:
        """Exact log-density in nats, `[N]`, of `x: [N, D]`, in float64."""
        x = np.asarray(x, np.float64)
        chunks = [x[i : i + _CHUNK] for i in range(0, len(x), _CHUNK)]
        return np.concatenate([logsumexp(self._log_joint(chunk), axis=1) for chunk in chunks])

    def entropy(self, *, num_samples: int = 20_000, seed: int = 0) -> Entropy:
        """`H = log K + (D/2) log(2πe σ²) − E[H(k | x)]`, exact but for the last term.

        The two first terms are the entropy of a mixture whose components do not overlap. What
        overlap takes away, the mean entropy of the component given the point, lies between 0 and
        log K. It is averaged over `num_samples` exact draws, each of whose entropies is exact:
        where the components are far apart, the error is far below that of an average of `−log p`.
        """
        count, dim = self.means.shape
        x = self.sample(np.random.default_rng(seed), num_samples)
        lost = []
        for i in range(0, num_samples, _CHUNK):
            joint = self._log_joint(x[i : i + _CHUNK])
            log_posterior = joint - logsumexp(joint, axis=1, keepdims=True)
            lost.append(-(softmax(joint, axis=1) * log_posterior).sum(1))
        lost = np.concatenate(lost)
        apart = np.log(count) + dim / 2 * np.log(2 * np.pi * np.e * self.scale**2)
        error = 2 * lost.std() / np.sqrt(num_samples)
        return Entropy(float(apart - lost.mean()), float(error))


def load_sphere_mixture(
    *, seed: int, num_components: int = 64, dim: int = 16, scale: float = 0.25
) -> Dataset:
    """Draws 20,000 / 2,000 / 2,000 points, float32 `[N, dim]`, of which `density` has the
    exact `log_prob` and the entropy.

    Args:
      seed: of the means and the points.
      num_components: K.
      dim: D.
      scale: σ, where the means are on the sphere of radius √D. Two of them are about √(2 D) apart,
        and a component's points √D σ from its mean.

    Raises:
      ValueError: if an option is not positive, or the dimension below 2.
    """
    if num_components < 1 or dim < 2 or not 0 < scale < np.inf:
        raise ValueError(
            f"toy/sphere_mixture got num_components {num_components}, dim {dim} and scale {scale}, "
            "expected at least 1, at least 2 and a positive number."
        )
    rng = np.random.default_rng(seed)
    density = SphereMixture.draw(rng, num_components, dim, scale)
    splits = {
        name: Split(density.sample(rng, size).astype(np.float32)) for name, size in _SIZES.items()
    }
    return Dataset(
        name="toy/sphere_mixture", preprocessing=Affine((dim,)), density=density, **splits
    )
