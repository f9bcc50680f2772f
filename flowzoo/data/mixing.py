"""Sources and mixtures of the literature on nonlinear ICA, each drawn from a seed.

Random numbers come from NumPy's `RandomState`, whose stream is frozen, so that a seed is the same
data everywhere.
"""

import functools
import re
from typing import NamedTuple

import numpy as np

from flowzoo.data.dataset import Dataset, Split
from flowzoo.transforms.elementwise.affine import Affine

# Matrices drawn to find a percentile of the condition number, as in the published protocol.
DRAWS = 10_000
# Sources of `gin` that depend on u.
INFORMATIVE = 2
# After which a matrix of the wanted condition number is taken for impossible.
MOST_DRAWS = 1_000_000


class Mixture(NamedTuple):
    """Sources, and what is observed of them.

    Attributes:
      x: `[N, D]` float32, the mixtures.
      u: `[N]` int32, the observed variable; None if there is none.
      sources: `[N, D]` float32.
      jacobian: `[N, D, D]` of the mixing at each source, None where it is not known; for a linear
        mixing its matrix `[D, D]`.
    """

    x: np.ndarray
    u: np.ndarray | None
    sources: np.ndarray
    jacobian: np.ndarray | None = None


def _positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"The generator got {name} {size}, expected at least 1.")


def _unit_columns(a: np.ndarray) -> np.ndarray:
    return a / np.sqrt((a**2).sum(-2, keepdims=True))


def mixing_matrix(
    rng: np.random.RandomState,
    dim: int,
    *,
    percentile: float = 25.0,
    max_condition: float | None = None,
) -> np.ndarray:
    """A matrix with entries from U(−1, 1) and columns scaled to length 1, well enough conditioned.

    Args:
      rng: drawn from.
      dim: D.
      percentile: accepted are matrices whose condition number is at most this percentile of 10,000
        drawn ones.
      max_condition: accepted are matrices with at most this condition number, instead.

    Returns:
      `[D, D]` float32.

    Raises:
      ValueError: if no matrix has so small a condition number, or a million draws had not.
    """
    _positive(dim=dim)
    if max_condition is None:
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile is {percentile}, expected a number in (0, 100].")
        if dim == 1:  # All condition numbers are 1.
            max_condition = 1.0
        else:
            drawn = np.concatenate(
                # In parts, which draw the same numbers and take less memory.
                [
                    np.linalg.cond(_unit_columns(rng.uniform(-1, 1, (n, dim, dim)).astype("f4")))
                    for n in [DRAWS // 10] * 10
                ]
            )
            max_condition = float(np.percentile(drawn, percentile))
    elif not max_condition >= 1:
        raise ValueError(
            f"A mixing matrix with condition number {max_condition} was asked for, expected at "
            "least 1, which every matrix has."
        )
    for _ in range(MOST_DRAWS):
        matrix = _unit_columns((rng.uniform(0, 2, (dim, dim)) - 1).astype(np.float32))
        if np.linalg.cond(matrix) <= max_condition:
            return matrix
    raise ValueError(
        f"No {dim} × {dim} matrix of {MOST_DRAWS:,} drawn had a condition number of at most "
        f"{max_condition}: ask for a larger one."
    )


def xtanh(x: np.ndarray, slope: float = 0.1) -> np.ndarray:
    """`tanh(x) + slope · x`."""
    return np.tanh(x) + np.float32(slope) * x


def leaky_relu(x: np.ndarray, slope: float = 0.2) -> np.ndarray:
    """x where it is positive, `slope · x` elsewhere."""
    return np.where(x > 0, x, np.float32(slope) * x)


NONLINEARITIES = {"xtanh": xtanh, "leaky_relu": leaky_relu}
SOURCES = {
    "normal": lambda rng, shape: rng.randn(*shape),
    "laplace": lambda rng, shape: rng.laplace(0, 1 / np.sqrt(2), shape),
    # Laplace in a tenth of the rows, elsewhere zero.
    "sparse": lambda rng, shape: (
        rng.laplace(0, np.sqrt(5), shape) * (rng.uniform(size=shape) < 0.1)
    ),
}


def _mix(rng, sources, layers, nonlinearity, *, same_matrix=False, max_condition=None):
    """`f(… f(f(s A_1) A_2) …) A_L`: rows times matrices, and no nonlinearity after the last."""
    x, matrix = sources, None
    for layer in range(layers):
        if matrix is None or not same_matrix:
            matrix = mixing_matrix(rng, sources.shape[1], max_condition=max_condition)
        x = x @ matrix
        if layer < layers - 1:
            x = nonlinearity(x)
    return x.astype(np.float32)


def segments(
    seed: int,
    *,
    dim: int = 5,
    num_segments: int = 40,
    per_segment: int = 1000,
    layers: int = 3,
    nonlinearity: str = "xtanh",
    slope: float = 0.1,
    family: str = "normal",
    centred: bool = False,
    same_matrix: bool = False,
    max_condition: float | None = None,
) -> Mixture:
    """Sources that are stationary in each of many segments, whose number is u: iVAE and iFlow.

    In each segment each source has a standard deviation from U(0.5, 3) and a mean from U(−5, 5),
    or 0. They pass through `layers` matrices of `mixing_matrix` with a nonlinearity between each
    two. The published results are on mixings of one matrix in all layers; with `same_matrix` a
    seed's arrays are, to rounding, those that the authors' programs draw from it.

    Args:
      seed: from 0.
      dim: D.
      num_segments, per_segment: N is their product.
      layers: matrices of the mixing; 1 is linear.
      nonlinearity: `xtanh`, `tanh(x) + slope · x`, or `leaky_relu`, of that slope on the left.
      slope: of the nonlinearity.
      family: of the sources, `normal`, `laplace` or `sparse`.
      centred: whether all means are 0.
      same_matrix: whether all layers have one and the same matrix.
      max_condition: of the matrices, by default the 25th percentile of 10,000 drawn ones.

    Raises:
      ValueError: if an option is unknown or out of its range, or no matrix has that condition
        number.

    Source: Khemakhem, Kingma, Monti, Hyvärinen, arXiv 1907.04809; Li, Hooi, Lee, "Identifying
    through flows for recovering latent representations", ICLR 2020, arXiv 1909.12555.
    """
    _positive(dim=dim, num_segments=num_segments, per_segment=per_segment, layers=layers)
    for option, value, known in (
        ("nonlinearity", nonlinearity, NONLINEARITIES),
        ("family", family, SOURCES),
    ):
        if value not in known:
            raise ValueError(f"{option} is {value!r}, expected one of {', '.join(known)}.")
    if not slope > 0:
        raise ValueError(f"slope is {slope}, expected a positive number: the mixing is invertible.")
    rng = np.random.RandomState(seed)
    scale = rng.uniform(0.5, 3, (num_segments, dim))
    mean = np.zeros((num_segments, dim))
    if not centred:
        mean = rng.uniform(-5, 5, (num_segments, dim))
    u = np.repeat(np.arange(num_segments, dtype=np.int32), per_segment)
    sources = SOURCES[family](rng, (len(u), dim)).astype(np.float32)
    sources = (sources * scale[u] + mean[u]).astype(np.float32)
    between = functools.partial(NONLINEARITIES[nonlinearity], slope=slope)
    x = _mix(rng, sources, layers, between, same_matrix=same_matrix, max_condition=max_condition)
    return Mixture(x, u, sources)


def tcl(
    seed: int,
    *,
    dim: int = 20,
    num_segments: int = 256,
    per_segment: int = 512,
    layers: int = 3,
    slope: float = 0.2,
) -> Mixture:
    """Laplace sources whose scale alone changes from segment to segment: time-contrastive learning.

    The scale of each source in each segment is from U(0, 1) times a Laplace of standard deviation
    1; leaky ReLUs between well-conditioned matrices.

    Args:
      seed: from 0.
      dim: D.
      num_segments, per_segment: N is their product.
      layers: matrices of the mixing.
      slope: of the leaky ReLU on the left.

    Raises:
      ValueError: if an option is out of its range.

    Source: Hyvärinen, Morioka, arXiv 1605.06336, section 6.
    """
    _positive(dim=dim, num_segments=num_segments, per_segment=per_segment, layers=layers)
    if not slope > 0:
        raise ValueError(f"slope is {slope}, expected a positive number: the mixing is invertible.")
    rng = np.random.RandomState(seed)
    # Zero would be a source that is not there.
    scale = rng.uniform(0.01, 1, (num_segments, dim))
    u = np.repeat(np.arange(num_segments, dtype=np.int32), per_segment)
    sources = (SOURCES["laplace"](rng, (len(u), dim)) * scale[u]).astype(np.float32)
    x = _mix(rng, sources, layers, functools.partial(leaky_relu, slope=slope))
    return Mixture(x, u, sources)


def gin(
    seed: int,
    *,
    dim: int = 10,
    informative: int = INFORMATIVE,
    num_classes: int = 5,
    rows: int = 10_000,
    couplings: int = 8,
) -> Mixture:
    """Few dimensions that differ between clusters among many of small noise: GIN.

    The informative sources are normal with a mean from U(−5, 5) and a standard deviation from
    U(0.5, 3) for each of the clusters, whose number is u; the others are normal of standard
    deviation 0.01 in all of them. Volume-preserving affine couplings, whose networks have random
    weights and two hidden layers of leaky ReLUs, mix them, the halves exchanged after each.

    Args:
      seed: from 0.
      dim: D, even.
      informative: sources that depend on u.
      num_classes: clusters.
      rows: N.
      couplings: layers of the mixing.

    Raises:
      ValueError: if an option is out of its range.

    Source: Sorrenson, Rother, Köthe, "Disentanglement by nonlinear ICA with general
    incompressible-flow networks (GIN)", arXiv 2001.04872, section 4.1.
    """
    _positive(informative=informative, num_classes=num_classes, rows=rows, couplings=couplings)
    if dim < 2 or dim % 2 or informative > dim:
        raise ValueError(
            f"gin got dim {dim} and informative {informative}, expected an even dim, at least 2 "
            "and at least as large."
        )
    rng = np.random.RandomState(seed)
    mean = rng.uniform(-5, 5, (num_classes, informative))
    scale = rng.uniform(0.5, 3, (num_classes, informative))
    u = rng.randint(num_classes, size=rows).astype(np.int32)
    sources = rng.randn(rows, dim)
    sources[:, :informative] = sources[:, :informative] * scale[u] + mean[u]
    sources[:, informative:] *= 0.01
    x = incompressible(sources[:, rng.permutation(dim)], couplings, rng)
    return Mixture(x.astype(np.float32), u, sources.astype(np.float32))


def incompressible(x: np.ndarray, couplings: int, rng: np.random.RandomState) -> np.ndarray:
    """Random affine couplings `[N, D] -> [N, D]` whose Jacobians have the determinant ±1."""
    dim = x.shape[-1]
    half = dim // 2
    for _ in range(couplings):
        left, right = x[:, :half], x[:, half:]
        hidden = [half, 4 * dim, 4 * dim, dim]
        h = left
        for i, (before, after) in enumerate(zip(hidden[:-1], hidden[1:], strict=True)):
            h = h @ (rng.randn(before, after) / np.sqrt(before)) + 0.1 * rng.randn(after)
            h = leaky_relu(h, 0.1) if i < 2 else h
        # Log-scales of sum zero keep the volume.
        log_scale = np.tanh(h[:, :half])
        log_scale -= log_scale.mean(1, keepdims=True)
        x = np.concatenate([right * np.exp(log_scale) + h[:, half:], left], axis=1)
    return x


def moebius(seed: int, *, dim: int = 2, rows: int = 10_000) -> Mixture:
    """Uniform sources on a cube through a Möbius transformation, which is conformal: C_IMA is 0.

    `x = t + r O (s − a) / ‖s − a‖²` with an inversion centre a outside of the cube `[−1, 1]^D`, an
    orthogonal O and random r and t. There is no u.

    Args:
      seed: from 0.
      dim: D, at least 2.
      rows: N.

    Raises:
      ValueError: if an option is out of its range.

    Source: Gresele et al., "Independent mechanism analysis, a new concept?", arXiv 2106.05200.
    """
    _positive(rows=rows)
    if dim < 2:
        raise ValueError(f"moebius got dim {dim}, expected at least 2.")
    rng = np.random.RandomState(seed)
    rotation = np.linalg.qr(rng.randn(dim, dim))[0]
    direction = rng.randn(dim)
    # As far from the cube's corners as between half and one of their distance from its centre.
    centre = direction / np.linalg.norm(direction) * np.sqrt(dim) * rng.uniform(1.5, 2)
    radius, shift = rng.uniform(1, 3), rng.randn(dim)
    sources = rng.uniform(-1, 1, (rows, dim))
    v = sources - centre
    square = (v**2).sum(1)
    x = shift + radius * (v / square[:, None]) @ rotation.T
    reflection = np.eye(dim) - 2 * v[:, :, None] * v[:, None, :] / square[:, None, None]
    jacobian = radius / square[:, None, None] * (rotation @ reflection)
    return Mixture(
        x.astype(np.float32), None, sources.astype(np.float32), jacobian.astype(np.float32)
    )


def linear(seed: int, *, dim: int = 10, rows: int = 10_000, family: str = "laplace") -> Mixture:
    """Independent and identically distributed sources through one well-conditioned matrix.

    Args:
      seed: from 0.
      dim: D.
      rows: N.
      family: of the sources, of variance 1: `laplace`; `sparse`, Laplace in a tenth of the rows and
        elsewhere zero; or `normal`, which linear ICA cannot find.

    Returns:
      A mixture whose `jacobian` is A, `[D, D]`: `x = A s` for columns.

    Raises:
      ValueError: if an option is out of its range.
    """
    _positive(dim=dim, rows=rows)
    if family not in SOURCES:
        raise ValueError(f"family is {family!r}, expected one of {', '.join(SOURCES)}.")
    rng = np.random.RandomState(seed)
    # A percentile of 10,000 matrices takes minutes where they are large.
    matrix = mixing_matrix(rng, dim, max_condition=None if dim <= 64 else 1e6)
    sources = SOURCES[family](rng, (rows, dim)).astype(np.float32)
    return Mixture((sources @ matrix).astype(np.float32), None, sources, matrix.T)


# As in the published experiments, but for the last two, which are hard.
MIXTURES = {
    "iflow": functools.partial(segments, same_matrix=True),
    "tcl": tcl,
    "gin": gin,
    "linear": linear,
    "four_layers": functools.partial(segments, layers=4, nonlinearity="leaky_relu", slope=0.2),
    "five_layers": functools.partial(segments, layers=5, nonlinearity="leaky_relu", slope=0.2),
}
DATASETS = tuple(f"ica/{name}" for name in MIXTURES)
_NAME = re.compile(rf"ica/({'|'.join(MIXTURES)})(?:-(\d+))?")


def load_mixture(name: str) -> Dataset:
    """A mixture: 90, 5 and 5 of 100 rows, at random; labels are u.

    The sources of `ica/gin` are the two informative ones: nothing tells its normal noise from a
    rotation of it.

    Args:
      name: `ica/` and one of `MIXTURES`, and the seed of the data behind a hyphen, `ica/iflow-7`,
        by default 1.

    Raises:
      ValueError: if there is no such mixture.
    """
    found = _NAME.fullmatch(name)
    if not found:
        raise ValueError(
            f"There is no mixture {name!r}, expected one of {', '.join(DATASETS)}, with a seed "
            "behind a hyphen if not 1."
        )
    seed = int(found[2] or 1)
    data = MIXTURES[found[1]](seed)
    if found[1] == "gin":
        data = data._replace(sources=data.sources[:, :INFORMATIVE])
    order = np.random.RandomState(seed).permutation(len(data.x))
    cuts = np.split(order, [len(order) // 20, len(order) // 10])
    splits = {
        split: Split(data.x[rows], None if data.u is None else data.u[rows], data.sources[rows])
        for split, rows in zip(("validation", "test", "train"), cuts, strict=True)
    }
    return Dataset(
        name=name,
        preprocessing=Affine(data.x.shape[1:]),
        num_classes=None if data.u is None else int(data.u.max()) + 1,
        **splits,
    )
