"""How many linear couplings with a fixed partition does a random linear map take?

    python -m flowzoo.studies.linear_couplings [--dims=4,8,16,32,64] [--pairs=1,2,3,4,8,16,24,32]

K coupling pairs `Π_i [[I, 0], [A_i, B_i]] [[C_i, D_i], [0, I]]`, A and D full, B and C diagonal,
are fitted to matrices with independent standard normal entries, on the matrix itself: Adam on the
squared Frobenius error per entry, its rate falling to zero along a cosine, from the identity plus
small noise, the best of two rates for each K. All matrices, rates and those K that share a power of
two are one vmapped program. Where the scales B and C are `positive` they are exponentials, as in
affine couplings, and the matrices are drawn given a positive determinant, as in the theorem; where
they are `signed` they are any numbers, and so are the matrices.

Beside them, by the same steps on the same matrices: one dense layer, trained by the relative and by
the ordinary gradient, and one LU layer `P L U` with a fixed permutation.

`flowzoo.studies.linear_factorization` writes any matrix as 11 pairs, exactly, and has a matrix that
two pairs with positive scales stay away from.

Source: Koehler, Mehta, Risteski, "Representational aspects of depth and conditioning in normalizing
flows", arXiv 2010.01155.
"""

from collections.abc import Sequence
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax

from flowzoo.relative import affine
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.linear_factorization import NUM_PAIRS
from flowzoo.studies.study import Option, Record, Study

# Of the noise about the identity that A and D start with, times 1/√n.
START = 0.1
RATES = (0.003, 0.01)
SCALES = ("positive", "signed")
LAYERS = {
    "dense": "one dense layer, relative gradient",
    "dense_ordinary": "one dense layer, ordinary gradient",
    "lu": "one LU layer",
}

OPTIONS = {
    "dims": Option((4, 8, 16, 32, 64), "Sizes d of the matrices, even.", (4, 8), least=2),
    "pairs": Option((1, 2, 3, 4, 8, 16, 24, 32), "Numbers K of pairs.", (1, 2, 4), least=1),
    "matrices": Option(5, "Random matrices of each size.", 2, least=1),
    "steps": Option(3000, "Steps of Adam.", 100, least=1),
    "scales": Option(("positive",), "What B and C may be.", choices=SCALES),
    "seed": Option(0, "Of the matrices and the starting values.", least=0),
}


def random_matrices(settings: SimpleNamespace, dim: int, scales: str) -> np.ndarray:
    """`[matrices, dim, dim]`, independent N(0, 1) entries; under positive scales given det > 0."""
    rng = np.random.default_rng((settings.seed, dim))
    found = rng.normal(size=(settings.matrices, dim, dim))
    if scales == "positive":
        found[:, 0] *= np.linalg.slogdet(found)[0][:, None]
    return found


def start(key: jax.Array, pairs: int, dim: int) -> dict[str, jax.Array]:
    """Pairs near the identity: A, D `[K, n, n]` and B, C `[K, n]`, C and B as distances from 1."""
    n = dim // 2
    noise = START / jnp.sqrt(n) * jax.random.normal(key, (2, pairs, n, n))
    zeros = jnp.zeros((pairs, n))
    return {"A": noise[0], "B": zeros, "C": zeros, "D": noise[1]}


def product(params: dict[str, jax.Array], active: jax.Array, positive: bool) -> jax.Array:
    """The product of those pairs that are active, `[2n, 2n]`; `active: [K]`."""
    n = params["B"].shape[-1]

    def apply(halves, layer):
        pair, is_active = layer
        top, bottom = halves
        b, c = ((jnp.exp(pair[i]) if positive else 1 + pair[i])[:, None] for i in "BC")
        new_top = c * top + pair["D"] @ bottom
        new = new_top, pair["A"] @ new_top + b * bottom
        return jax.tree.map(functools.partial(jnp.where, is_active), new, halves), None

    halves = tuple(jnp.split(jnp.eye(2 * n), 2))
    return jnp.concatenate(jax.lax.scan(apply, halves, (params, active), reverse=True)[0])


def descend(loss, params, rate: jax.Array, steps: int):
    """The loss after so many steps of Adam."""
    schedule = optax.cosine_decay_schedule(1.0, steps)
    adam = optax.scale_by_adam()

    def step(carry, i):
        params, state = carry
        updates, state = adam.update(jax.grad(loss)(params), state)
        scale = -rate * schedule(i)
        return (jax.tree.map(lambda p, u: p + scale * u, params, updates), state), None

    carry = jax.lax.scan(step, (params, adam.init(params)), jnp.arange(steps))[0]
    return loss(carry[0])


@functools.partial(jax.jit, static_argnames=("most", "steps", "positive"))
def fit_couplings(targets, keys, pairs, rates, *, most, steps, positive):
    """Mean squared errors per entry, `[matrices, len(pairs), len(rates)]`.

    Args:
      targets: `[matrices, d, d]`.
      keys: `[matrices]`, of the starting values.
      pairs: the numbers K, none above `most`.
      rates: learning rates.
      most: how many pairs the program holds; those beyond K are left out.
      steps: of Adam.
      positive: whether B and C are exponentials.
    """

    def fit(target, key, count, rate):
        active = jnp.arange(most) < count
        params = start(key, most, len(target))

        def loss(params):
            return jnp.mean((product(params, active, positive) - target) ** 2)

        return descend(loss, params, rate, steps)

    over_rates = jax.vmap(fit, (None, None, None, 0))
    over_pairs = jax.vmap(over_rates, (None, None, 0, None))
    return jax.vmap(over_pairs, (0, 0, None, None))(targets, keys, pairs, rates)


@functools.partial(jax.jit, static_argnames=("kind", "steps"))
def fit_layers(targets, keys, rates, *, kind, steps):
    """Mean squared errors per entry, `[matrices, len(rates)]`, of one layer.

    `dense`: W, from a rotation of the target's orientation, by the relative gradient, which keeps
    it; `dense_ordinary`: by the ordinary gradient. `lu`: a fixed random permutation of the rows of
    L U, from the identity.
    """

    def dense(target, key, rate, rule="relative"):
        weight = jax.random.orthogonal(key, len(target))
        same = jnp.linalg.det(weight) * jnp.linalg.det(target) > 0
        weight = weight.at[0].multiply(jnp.where(same, 1, -1))

        def loss(weight):
            image = affine(jnp.eye(len(target)), weight, None, rule=rule)
            return jnp.mean((image - target.T) ** 2)

        return descend(loss, weight, rate, steps)

    def lu(target, key, rate):
        eye = jnp.eye(len(target))
        order = jax.random.permutation(key, len(target))

        def loss(weight):
            lower, upper = jnp.tril(weight, -1) + eye, jnp.triu(weight) + eye
            return jnp.mean(((lower @ upper)[order] - target) ** 2)

        return descend(loss, 0 * eye, rate, steps)

    ordinary = functools.partial(dense, rule="ordinary")
    fits = {"dense": dense, "dense_ordinary": ordinary, "lu": lu}
    over_rates = jax.vmap(fits[kind], (None, None, 0))
    return jax.vmap(over_rates, (0, 0, None))(targets, keys, rates)


def groups(pairs: Sequence[int]) -> list[list[int]]:
    """Numbers of pairs that share the next power of two, and with it a program."""
    found: dict[int, list[int]] = {}
    for count in sorted(set(pairs)):
        found.setdefault(1 << (count - 1).bit_length(), []).append(count)
    return list(found.values())


def measure(settings: SimpleNamespace, record: Record) -> dict:
    """Errors at the best rate: (scales, dim) -> K or layer -> errors `[matrices]`."""
    if odd := [dim for dim in settings.dims if dim % 2]:
        raise ValueError(f"--dims got {odd[0]}, expected even sizes: a matrix has two halves.")
    wanted = {}
    for scales in settings.scales:
        for dim in settings.dims:
            common = dict(dim=dim, matrices=settings.matrices, steps=settings.steps)
            common |= dict(scales=scales, seed=settings.seed)
            for group in groups(settings.pairs):
                fit = functools.partial(couplings, settings, scales, dim, group)
                wanted[scales, dim, tuple(group)] = common | {"pairs": group}, fit
            fit = functools.partial(layers, settings, scales, dim)
            wanted[scales, dim, "layers"] = common | {"layer": list(LAYERS)}, fit
    errors = {}
    for (scales, dim, _), cell in record.cells(wanted).items():
        errors.setdefault((scales, dim), {}).update(cell)
    return {"settings": settings, "errors": errors}


def couplings(settings: SimpleNamespace, scales: str, dim: int, group: Sequence[int]) -> dict:
    """K -> errors at the best rate, of the numbers K of one program."""
    sizes = dict(most=max(group), steps=settings.steps, positive=scales == "positive")
    problem = targets_and_keys(settings, scales, dim)
    found = fit_couplings(*problem, jnp.array(group), jnp.array(RATES), **sizes)
    return {count: best(found[:, i]) for i, count in enumerate(group)}


def layers(settings: SimpleNamespace, scales: str, dim: int) -> dict:
    """Layer -> errors at the best rate."""
    problem, rates = targets_and_keys(settings, scales, dim), jnp.array(RATES)
    return {
        kind: best(fit_layers(*problem, rates, kind=kind, steps=settings.steps)) for kind in LAYERS
    }


def targets_and_keys(settings: SimpleNamespace, scales: str, dim: int) -> tuple:
    """The matrices, and the keys of the starting values, the same for every fit."""
    targets = jnp.asarray(random_matrices(settings, dim, scales), jnp.float32)
    return targets, jax.random.split(jax.random.key(settings.seed), settings.matrices)


def best(errors: jax.Array) -> dict:
    """The rate with the lowest mean error, and its errors, of `[matrices, rates]`."""
    errors = np.where(np.isfinite(errors), errors, np.inf)
    i = int(np.argmin(errors.mean(0)))
    return {"rate": RATES[i], "errors": errors[:, i]}


def table(found: dict) -> str:
    settings, errors = found["settings"], found["errors"]
    names = {str(k): f"K = {k}" for k in settings.pairs} | LAYERS

    def text(cell):
        values = np.array(cell["errors"])
        return f"{np.median(values):.0e} ({values.min():.0e} … {values.max():.0e})"

    parts = [
        f"Squared error per entry of {settings.matrices} random matrices, median (least … "
        f"greatest), {settings.steps:,} steps."
    ]
    for scales in settings.scales:
        header = [f"{scales} scales", *(f"d = {dim}" for dim in settings.dims)]
        rows = [
            [title, *(text(errors[scales, dim][name]) for dim in settings.dims)]
            for name, title in names.items()
        ]
        parts.append(tables.markdown(header, rows))
    return "\n\n".join(parts)


def draw(found: dict) -> Figure:
    settings, errors = found["settings"], found["errors"]
    figure = Figure(figsize=(5.5 * len(settings.scales), 4.5))
    panels = figure.subplots(1, len(settings.scales), sharey=True, squeeze=False)[0]
    for axes, scales in zip(panels, settings.scales, strict=True):
        for i, dim in enumerate(settings.dims):
            cells, color = errors[scales, dim], f"C{i}"
            values = np.array([cells[str(k)]["errors"] for k in settings.pairs], float)
            axes.plot(settings.pairs, np.median(values, 1), "o-", color=color, label=f"d = {dim}")
            band = values.min(1), values.max(1)
            axes.fill_between(settings.pairs, *band, color=color, alpha=0.15, linewidth=0)
        axes.set(xscale="log", yscale="log", xlabel="coupling pairs K", title=f"{scales} scales")
        axes.set_xticks(settings.pairs, map(str, settings.pairs), minor=False)
        axes.minorticks_off()
        axes.axvline(NUM_PAIRS, color="grey", linewidth=0.8, linestyle="--")
    panels[0].set_ylabel("squared error per entry")
    panels[0].text(
        NUM_PAIRS,
        0.02,
        f"{NUM_PAIRS}: exact, written down",
        fontsize=8,
        rotation=90,
        ha="right",
        transform=panels[0].get_xaxis_transform(),
    )
    panels[0].legend(fontsize=8)
    return figure


STUDY = Study("linear_couplings", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
