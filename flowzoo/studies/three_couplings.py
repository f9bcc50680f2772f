"""Three couplings come near to any density, at the price of their conditioning.

    python -m flowzoo.studies.three_couplings [--toys=moons,eight_gaussians,checkerboard,rings]
        [--widths=8,32,128,400] [--penalties=0,0.1,1]

Two experiments on planar densities, standardised:

  written down  couplings of `flowzoo.studies.two_steps` for smaller and smaller cells δ
  fitted        Real NVP with three couplings, one hidden layer of growing width in their networks,
                trained by maximum likelihood, and beside it the fully connected flow with three
                dense layers and splines of as many bins as a quarter of the width, at most 100. A
                penalty λ adds λ times the mean of `log(|J|² / (2 |det J|))`, J = ∂z/∂x, to the
                loss, which is about the logarithm of the condition number. Its gradient is a second
                derivative, which the relative gradient's rule does not have, so that all flows
                follow the ordinary one.

Measured are the Wasserstein-2 distance of 1,000 samples to as many points of the density, by exact
assignment, which between two samples of the density is not zero either, the condition number of the
Jacobian on test points, and the smallest singular value of the map from latents to data.

All densities and penalties of one width are one vmapped program.

Source: Koehler, Mehta, Risteski, "Representational aspects of depth and conditioning in normalizing
flows", arXiv 2010.01155.
"""

import functools
from types import SimpleNamespace

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from flowzoo.data.toy import TOYS
from flowzoo.flow import Flow
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.planar import standardized, wasserstein
from flowzoo.studies.study import Option, Record, Study
from flowzoo.studies.training import BINS, fully_connected, stack, train
from flowzoo.studies.two_steps import reach
from flowzoo.zoo import build

RATE = 3e-3
# Samples for the distance, and for the picture.
POINTS, SHOWN = 1000, 250
MODELS = {"couplings": "three couplings", "fully_connected": "fully connected, 3 layers"}

OPTIONS = {
    "toys": Option(
        ("moons", "eight_gaussians", "checkerboard", "rings"),
        "Planar densities.",
        ("moons",),
        choices=tuple(TOYS),
    ),
    "deltas": Option((0.5, 0.25, 0.125, 0.0625, 0.03125), "Widths of cells.", (0.5,), least=1e-3),
    "widths": Option((8, 32, 128, 400), "Hidden units.", (8,), least=8),
    "penalties": Option((0.0, 0.1, 1.0), "Weights λ of the log condition number.", least=0),
    "models": Option(tuple(MODELS), "Which flows.", ("couplings",), choices=tuple(MODELS)),
    "steps": Option(1500, "Steps of Adam.", 10, least=1),
    "batch": Option(128, "Points in a batch.", least=1),
    "seed": Option(0, "Of the points, the batches and the starting values.", least=0),
}


def bins(width: int) -> int:
    """The bins of the fully connected flow that stands beside couplings of this width."""
    return min(width // 4, BINS[1])


def conditioning(flow: Flow, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The condition number of J = ∂z/∂x `[2, 2]` and its largest singular value, at `x: [N, 2]`.

    By `σ₁² + σ₂² = |J|²` and `σ₁ σ₂ = |det J|`.
    """
    norm, det = invariants(flow, x)
    difference = jnp.sqrt(jnp.maximum(norm**2 - 4 * det**2, 0))
    largest = jnp.sqrt((norm + difference) / 2)
    return largest**2 / det, largest


def invariants(flow: Flow, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`|J|²` (Frobenius) and `|det J|` of J = ∂z/∂x at each of `x: [N, 2]`."""
    jacobian = jax.vmap(jax.jacfwd(flow.transform.forward))(x)
    det = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
    return (jacobian**2).sum((1, 2)), jnp.abs(det)


def penalized(flow: Flow, x: jax.Array, data: tuple[jax.Array, jax.Array]) -> jax.Array:
    """The negative log-likelihood plus the penalty, in nats; `data`: which density, and λ."""
    _, weight = data
    norm, det = invariants(flow, x)
    return -flow.log_prob(x).mean() + weight * jnp.log(norm / (2 * det)).mean()


def fitted(settings: SimpleNamespace, model: str, width: int) -> dict:
    """Flows of one width for each density and penalty: lists `[toys][penalties]`."""
    points = standardized(settings.toys, 50_000 + POINTS, seed=settings.seed)
    count = len(settings.penalties)
    if model == "couplings":
        config = {"name": "real_nvp", "num_layers": 3, "hidden_sizes": (width,)}
        flow = build(config | {"batch_norm": False}, (2,), rngs=nnx.Rngs(settings.seed))
        flows = [flow] * len(points)
    else:
        options = dict(num_layers=3, num_bins=bins(width), seed=settings.seed)
        flows = [fully_connected(2, data=x[:2000], **options) for x in points]
    members = stack([flow for flow in flows for _ in range(count)])
    which = jnp.repeat(jnp.arange(len(points)), count)
    weights = jnp.tile(jnp.array(settings.penalties), len(points))
    pool = jnp.asarray(points[:, POINTS:])

    def draw(data, key):
        rows = jax.random.randint(key, (settings.batch,), 0, pool.shape[1])
        return pool[data[0], rows]

    trained, _ = train(
        members,
        draw,
        (which, weights),
        steps=settings.steps,
        rate=RATE,
        loss=penalized,
        seed=settings.seed,
    )

    def evaluate(flow, toy, key):
        x = jnp.asarray(points[:, :POINTS])[toy]
        samples = flow.sample(key, (POINTS,))
        return flow.log_prob(x).mean(), samples, *conditioning(flow, x)

    keys = jax.random.split(jax.random.key(settings.seed + 1), len(which))
    nats, samples, condition, largest = map(np.asarray, trained.map(evaluate, which, keys))
    distance = [wasserstein(s, points[i, :POINTS]) for s, i in zip(samples, which, strict=True)]
    shape = len(points), count
    return {
        "nats": nats.reshape(shape),
        "distance": np.reshape(distance, shape),
        "condition": np.median(condition, 1).reshape(shape),
        "worst_condition": np.quantile(condition, 0.99, axis=1).reshape(shape),
        # Of ∂x/∂z, whose singular values are the reciprocals.
        "smallest": (1 / largest.max(1)).reshape(shape),
        "samples": np.round(samples[:, :SHOWN].astype(float), 2).reshape(*shape, SHOWN, 2),
    }


def written_down(settings: SimpleNamespace, delta: float) -> dict:
    """The construction for one width of cells: lists by density."""
    points = standardized(settings.toys, 200_000 + POINTS, seed=settings.seed)
    z = np.random.default_rng(settings.seed).normal(size=(POINTS, 2))
    found = {"distance": [], "condition": [], "worst_condition": [], "smallest": [], "samples": []}
    for x in points.astype(np.float64):
        reached = reach(x[POINTS:], z, delta)
        condition = reached.largest / reached.smallest
        found["distance"].append(wasserstein(reached.samples, x[:POINTS]))
        found["condition"].append(np.median(condition))
        found["worst_condition"].append(np.quantile(condition, 0.99))
        found["smallest"].append(reached.smallest.min())
        found["samples"].append(np.round(reached.samples[:SHOWN], 2))
    return found


def reference(settings: SimpleNamespace) -> dict:
    """The distance between two samples of each density."""
    points = standardized(settings.toys, 50_000 + POINTS, seed=settings.seed)
    pairs = zip(points[:, POINTS : 2 * POINTS], points[:, :POINTS], strict=True)
    return {"distance": [wasserstein(*pair) for pair in pairs]}


def measure(settings: SimpleNamespace, record: Record) -> dict:
    common = dict(toys=settings.toys, seed=settings.seed)
    training = dict(penalties=settings.penalties, steps=settings.steps, batch=settings.batch)
    fits = {
        (model, width): (
            {"model": model, "width": width, **common, **training},
            functools.partial(fitted, settings, model, width),
        )
        for model in settings.models
        for width in settings.widths
    }
    written = {
        delta: (
            {"written_down": delta, **common},
            functools.partial(written_down, settings, delta),
        )
        for delta in settings.deltas
    }
    floor = {"": ({"reference": POINTS, **common}, functools.partial(reference, settings))}
    cells = record.cells(fits | written | floor)
    return {
        "settings": settings,
        "written": {delta: cells[delta] for delta in written},
        "fitted": {name: cells[name] for name in fits},
        "floor": cells[""]["distance"],
    }


def table(found: dict) -> str:
    settings = found["settings"]
    header = ["data", "flow", "size", "λ", "nats", "W2", "condition number, median (99 %)"]
    header += ["smallest singular value"]
    rows = []

    def row(title, name, size, weight, cell, index):
        def at(key):
            value = cell[key]
            for i in index:
                value = value[i]
            return np.nan if value is None else value

        nats = f"{at('nats'):.3f}" if "nats" in cell else None
        condition = f"{at('condition'):.3g} ({at('worst_condition'):.3g})"
        line = [title, name, size, weight, nats, f"{at('distance'):.3f}", condition]
        rows.append([*line, f"{at('smallest'):.2g}"])

    for i, toy in enumerate(settings.toys):
        title = f"{toy} (floor {found['floor'][i]:.3f})"
        for delta, cell in found["written"].items():
            row(title, "written down", f"δ = {delta:g}", None, cell, (i,))
        for (model, width), cell in found["fitted"].items():
            for j, weight in enumerate(settings.penalties):
                size = f"{width} units" if model == "couplings" else f"{bins(width)} bins"
                row(title, MODELS[model], size, f"{weight:g}", cell, (i, j))
    return tables.markdown(header, rows)


def draw(found: dict) -> Figure:
    """Distance against condition number, and samples of the widest couplings."""
    settings = found["settings"]
    columns = len(settings.toys)
    shown = [("written down", found["written"][min(settings.deltas)]["samples"])]
    width = max(settings.widths)
    if (cell := found["fitted"].get(("couplings", width))) is not None:
        for j, weight in enumerate(settings.penalties):
            shown.append((f"{width} units, λ = {weight:g}", [s[j] for s in cell["samples"]]))
    figure = Figure(figsize=(3 * columns, 3 + 2.4 * len(shown)), layout="constrained")
    ratios = [3, *[2.4] * len(shown)]
    panels = figure.subplots(1 + len(shown), columns, squeeze=False, height_ratios=ratios)
    for i, toy in enumerate(settings.toys):
        axes = panels[0][i]
        written = list(found["written"].values())
        curve = [[cell[key][i] for cell in written] for key in ("condition", "distance")]
        axes.plot(*curve, "k.-", label="written down")
        for m, model in enumerate(settings.models):
            for j, weight in enumerate(settings.penalties):
                cells = [found["fitted"][model, width] for width in settings.widths]
                points = [[c[key][i][j] for c in cells] for key in ("condition", "distance")]
                style = dict(color=f"C{j}", marker="os"[m], linestyle=("-", ":")[m])
                text = f"{MODELS[model].split(',')[0]}, λ = {weight:g}"
                axes.plot(*np.array(points, float), **style, markersize=4, label=text)
        axes.axhline(found["floor"][i], color="grey", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", yscale="log", xlabel="condition number, median", title=toy)
        for k, (title, samples) in enumerate(shown, 1):
            points = np.array(samples[i], float)
            panels[k][i].scatter(points[:, 0], points[:, 1], s=2, linewidths=0)
            panels[k][i].set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), xticks=[], yticks=[])
            panels[k][i].set_title(title, size=8)
    panels[0][0].set_ylabel("W2 of samples to data")
    panels[0][-1].legend(fontsize=6, loc="upper right")
    return figure


STUDY = Study("three_couplings", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
