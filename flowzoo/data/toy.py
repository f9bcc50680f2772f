"""Two-dimensional densities that show what a flow can and cannot bend.

Each function draws `[n, 2]` points in the coordinates in which the literature draws them, roughly
[−4, 4]²; none is standardised. Shapes and noise follow the experiments of Gresele et al. (arXiv
2006.15090), which draw 5,000 points for training and 500 for testing.
"""

from collections.abc import Callable

import numpy as np

from flowzoo.data.dataset import Dataset, Split
from flowzoo.transforms.elementwise.affine import Affine

_SIZES = {"train": 5_000, "validation": 500, "test": 500}


def mixture_of_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    """Three round Gaussians of standard deviation 1, 1/2 and 1/2."""
    centers = np.array([(0, 0), (5, 5), (5, -5)])
    scales = np.array([1, 0.5, 0.5])
    k = rng.integers(3, size=n)
    return centers[k] + scales[k, None] * rng.standard_normal((n, 2))


def moons(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two interleaved half circles of radius 1, noise 0.05."""
    angle = rng.uniform(0, np.pi, n)
    arch = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(rng.random((n, 1)) < 0.5, arch, np.array([1, 0.5]) - arch)
    return x + 0.05 * rng.standard_normal((n, 2))


def sine(rng: np.random.Generator, n: int) -> np.ndarray:
    """`x₂ = sin 3x₁ + ε/4` over `x₁ ~ U[−2, 2]`."""
    x1 = rng.uniform(-2, 2, n)
    return np.stack([x1, np.sin(3 * x1) + 0.25 * rng.standard_normal(n)], axis=1)


def eight_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    """Eight Gaussians on a circle of radius 2√2, standard deviation 1/(2√2)."""
    angle = np.pi / 4 * rng.integers(8, size=n)
    center = 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (center + 0.5 * rng.standard_normal((n, 2))) / np.sqrt(2)


def smile(rng: np.random.Generator, n: int) -> np.ndarray:
    """Ten Gaussians of standard deviation 1/2: eyes and nose hold half the mass, the mouth half."""
    mouth = np.deg2rad(np.arange(-135, -44, 15))
    centers = [(-2, 2 * np.sqrt(3)), (2, 2 * np.sqrt(3)), (0, 0)]
    centers += [(4 * np.cos(a), 4 * np.sin(a)) for a in mouth]
    k = rng.choice(10, size=n, p=[1 / 6] * 3 + [1 / 14] * 7)
    return np.array(centers)[k] + 0.5 * rng.standard_normal((n, 2))


def two_spirals(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two Archimedean spirals of one and a half turns, one the other's mirror image in 0."""
    angle = 3 * np.pi * np.sqrt(rng.random(n))
    arm = np.stack([-np.cos(angle), np.sin(angle)], axis=1) * angle[:, None]
    arm += 0.5 * rng.random((n, 2))
    sign = rng.choice([-1, 1], size=(n, 1))
    return sign * arm / 3 + 0.1 * rng.standard_normal((n, 2))


def checkerboard(rng: np.random.Generator, n: int) -> np.ndarray:
    """Uniform on the eight dark squares of a 4 × 4 board on [−4, 4]²."""
    x1 = rng.uniform(-2, 2, n)
    x2 = rng.random(n) + np.floor(x1) % 2 - 2 * rng.integers(2, size=n)
    return 2 * np.stack([x1, x2], axis=1)


def rings(rng: np.random.Generator, n: int) -> np.ndarray:
    """Four concentric circles of radius 3/4, 3/2, 9/4 and 3, equal mass, noise 0.08."""
    angle = rng.uniform(0, 2 * np.pi, n)
    radius = 0.75 * rng.integers(1, 5, size=n)
    circle = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return circle + 0.08 * rng.standard_normal((n, 2))


TOYS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "mixture_of_gaussians": mixture_of_gaussians,
    "moons": moons,
    "sine": sine,
    "eight_gaussians": eight_gaussians,
    "smile": smile,
    "two_spirals": two_spirals,
    "checkerboard": checkerboard,
    "rings": rings,
}


def load_toy(toy: str, *, seed: int) -> Dataset:
    """Draws 5,000 / 500 / 500 points of the density `toy`, float32 `[N, 2]`; no preprocessing."""
    rng = np.random.default_rng(seed)
    splits = {name: Split(TOYS[toy](rng, size).astype(np.float32)) for name, size in _SIZES.items()}
    return Dataset(name=f"toy/{toy}", preprocessing=Affine((2,)), **splits)
