"""The gap to the true likelihood on mixtures of Gaussians on a sphere, against depth.

    python -m flowzoo.studies.sphere_mixture [--dims=2,16,64] [--components=16,128,1024]
        [--depths=1,2,4,8] [--input_bound=3]

The data are K Gaussians of standard deviation 1/4 whose means are uniform on the sphere of radius
√D (`load_dataset("toy/sphere_mixture")`), drawn afresh for each batch, so that nothing is
overfitted and a gap is one of representation or of optimization. Real NVP (affine couplings whose
halves alternate), MAF and the fully connected flow with splines, trained by the relative gradient,
have about as many parameters at every depth: the widths of their one hidden layer, or the numbers
of bins, are chosen so (a flow of one layer would need more than the 100 bins that a spline takes).
The mixtures of one dimension are trained in one vmapped program.

Source: Koehler, Mehta, Risteski, "Representational aspects of depth and conditioning in normalizing
flows", arXiv 2010.01155, whose lower bound on the depth of Lipschitz layers uses these mixtures.
"""

import functools
from types import SimpleNamespace

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from flowzoo.data.sphere_mixture import SphereMixture
from flowzoo.flow import Flow
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.study import Option, Record, Study
from flowzoo.studies.training import bins_for, fully_connected, stack, train
from flowzoo.zoo import build
from flowzoo.zoo.parameters import match_parameters, num_parameters

SCALE = 0.25
RATE = 3e-3
MODELS = {"couplings": "Real NVP", "maf": "MAF", "fully_connected": "fully connected"}
# Parameters for each dimension of the data.
BUDGET = 1000

OPTIONS = {
    "dims": Option((2, 16, 64), "Dimensions D.", (2,), least=2),
    "components": Option((16, 128, 1024), "Numbers K of components.", (16,), least=2),
    "models": Option(tuple(MODELS), "Which flows.", choices=tuple(MODELS)),
    "depths": Option((1, 2, 4, 8), "Numbers of layers.", (2,), least=1),
    "input_bound": Option(
        0.0,
        "The networks of couplings and MAF see the logarithm of larger numbers; 0 for no bound.",
        least=0,
    ),
    "steps": Option(1500, "Steps of Adam.", 20, least=1),
    "batch": Option(128, "Points in a batch.", least=1),
    "seed": Option(0, "Of the means, the batches and the starting values.", least=0),
}


def mixtures(settings: SimpleNamespace, dim: int) -> list[SphereMixture]:
    """One for each number of components."""
    return [
        SphereMixture.draw(np.random.default_rng((settings.seed, k, dim)), k, dim, SCALE)
        for k in settings.components
    ]


def make_flows(
    model: str, dim: int, depth: int, data: list[np.ndarray], seed: int, input_bound: float = 0.0
) -> list[Flow]:
    """A flow of so many layers with about `BUDGET · dim` parameters for each set of data."""
    if model == "fully_connected":
        options = dict(num_layers=depth, num_bins=bins_for(dim, depth, BUDGET * dim), seed=seed)
        return [fully_connected(dim, data=x, **options) for x in data]
    name = {"couplings": "real_nvp", "maf": "maf"}[model]
    config = {"name": name, "num_layers": depth, "hidden_sizes": (64,), "batch_norm": False}
    config["input_bound"] = input_bound or None
    config = match_parameters(config, (dim,), BUDGET * dim)
    return [build(config, (dim,), rngs=nnx.Rngs(seed))] * len(data)


def draw_batch(data: tuple, key: jax.Array, count: int) -> jax.Array:
    """`[count, D]` of one mixture; `data`: its means, filled up with zeros, and their number."""
    means, number = data
    pick, noise = jax.random.split(key)
    k = jax.random.randint(pick, (count,), 0, number)
    return means[k] + SCALE * jax.random.normal(noise, (count, means.shape[1]))


def gaps(
    settings: SimpleNamespace, dim: int, model: str, depth: int
) -> dict[str, np.ndarray | int]:
    """Of the trained flows, one for each mixture: gaps in nats, the means and the three largest of
    single points, and parameters.
    """
    densities = mixtures(settings, dim)
    rng = np.random.default_rng(settings.seed + 1)
    data = [density.sample(rng, 2000) for density in densities]
    flows = make_flows(model, dim, depth, data, settings.seed, settings.input_bound)
    parameters = num_parameters(flows[0])
    most = max(settings.components)
    means = np.zeros((len(densities), most, dim), np.float32)
    for row, density in zip(means, densities, strict=True):
        row[: len(density.means)] = density.means
    data = jnp.asarray(means), jnp.array(settings.components)
    trained, _ = train(
        stack(flows),
        functools.partial(draw_batch, count=settings.batch),
        data,
        steps=settings.steps,
        rate=RATE,
        rule="relative" if model == "fully_connected" else "ordinary",
        seed=settings.seed,
    )
    test = [density.sample(rng, 4000).astype(np.float32) for density in densities]
    true = np.stack([d.log_prob(x) for d, x in zip(densities, test, strict=True)])
    found = np.asarray(trained.map(lambda flow, x: flow.log_prob(x), jnp.asarray(test)))
    gap = true - found
    error = 2 * gap.std(1) / np.sqrt(gap.shape[1])
    largest = np.sort(gap, 1)[:, :-4:-1]
    return {
        "gap": gap.mean(1),
        "two_standard_errors": error,
        "largest": largest,
        "parameters": parameters,
    }


def separation(settings: SimpleNamespace, dim: int) -> dict:
    """Entropies, and quantiles of the distances from a mean to the others and to the nearest."""
    found = {"entropy": [], "two_standard_errors": [], "distances": [], "nearest": []}
    for density in mixtures(settings, dim):
        entropy = density.entropy()
        found["entropy"].append(entropy.nats)
        found["two_standard_errors"].append(entropy.two_standard_errors)
        squares = ((density.means[:256, None] - density.means) ** 2).sum(-1)
        distances = np.sqrt(np.sort(squares, axis=1)[:, 1:])
        levels = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
        found["distances"].append(np.quantile(distances, levels))
        found["nearest"].append(np.quantile(distances[:, 0], levels))
    return found


def measure(settings: SimpleNamespace, record: Record) -> dict:
    common = dict(components=settings.components, seed=settings.seed)
    wanted = {}
    for dim in settings.dims:
        key = {"dim": dim, "separation": SCALE, **common}
        wanted[dim] = key, functools.partial(separation, settings, dim)
        for model in settings.models:
            for depth in settings.depths:
                key = dict(dim=dim, model=model, depth=depth, **common)
                key |= dict(steps=settings.steps, batch=settings.batch)
                if settings.input_bound and model != "fully_connected":
                    key |= dict(input_bound=settings.input_bound)
                fit = functools.partial(gaps, settings, dim, model, depth)
                wanted[dim, model, depth] = key, fit
    cells = record.cells(wanted)
    apart = {dim: cells.pop(dim) for dim in settings.dims}
    return {"settings": settings, "gaps": cells, "separation": apart}


def table(found: dict) -> str:
    settings = found["settings"]
    rows = []
    for dim in settings.dims:
        entropies = found["separation"][dim]["entropy"]
        for i, k in enumerate(settings.components):
            for model in settings.models:
                cells = [found["gaps"][dim, model, depth] for depth in settings.depths]
                sizes = [cell["parameters"] for cell in cells]
                size = f"{min(sizes):,} … {max(sizes):,}"
                values = [f"{cell['gap'][i]:.2f}" for cell in cells]
                rows.append([dim, k, f"{entropies[i]:.2f}", MODELS[model], size, *values])
    header = ["D", "K", "entropy", "flow", "parameters"]
    header += [f"{depth} layers" if depth > 1 else "1 layer" for depth in settings.depths]
    return "Gap to the true likelihood in nats, lower is better\n\n" + tables.markdown(header, rows)


def draw(found: dict) -> Figure:
    settings = found["settings"]
    columns, rows = len(settings.dims), len(settings.components)
    figure = Figure(figsize=(3.6 * columns, 2.4 * rows + 2.4), layout="constrained")
    panels = figure.subplots(rows + 1, columns, squeeze=False)
    for j, dim in enumerate(settings.dims):
        for i, k in enumerate(settings.components):
            axes = panels[i][j]
            for model in settings.models:
                gap = [found["gaps"][dim, model, depth]["gap"][i] for depth in settings.depths]
                axes.plot(settings.depths, np.array(gap, float), "o-", label=MODELS[model])
            axes.set(xscale="log", yscale="log", title=f"D = {dim}, K = {k}")
            axes.set_xticks(settings.depths, map(str, settings.depths), minor=False)
            axes.set_xlabel("layers")
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        apart = found["separation"][dim]
        axes = panels[-1][j]
        for name, color in (("distances", "C0"), ("nearest", "C1")):
            values = np.array(apart[name])
            axes.plot(settings.components, values[:, 3], "o-", color=color, label=f"{name}, median")
            axes.fill_between(
                settings.components, values[:, 1], values[:, 5], color=color, alpha=0.2, linewidth=0
            )
        axes.axhline(2 * SCALE * np.sqrt(dim), color="grey", linestyle="--", linewidth=0.8)
        axes.set(xscale="log", ylim=(0, None), xlabel="K", title=f"D = {dim}: between means")
        axes.set_xticks(settings.components, map(str, settings.components), minor=False)
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    for row in panels[:-1]:
        row[0].set_ylabel("gap (nats)")
    panels[-1][0].set_ylabel("distance")
    panels[0][0].legend(fontsize=8)
    panels[-1][0].legend(fontsize=8)
    return figure


STUDY = Study("sphere_mixture", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
