"""Draws the gallery: what each family learns of the eight toy data sets, `python docs/gallery.py`.

One flow of each family for each toy, the eight of a family trained at once, by as many steps
of Adam. A new family is one line of `FAMILIES`. About five minutes on one CPU core.
"""

import functools
import sys

from flax import nnx
import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import optax
from pictures import GREY, IMAGES, MAP, save, square

import flowzoo
from flowzoo.data.toy import TOYS

HIDDEN, TWO_HIDDEN = {"hidden_sizes": (64,)}, {"hidden_sizes": (32, 32)}
FAMILIES = {
    "Gaussian": {"name": "gaussian"},
    "MADE": {"name": "made", **HIDDEN},
    "MADE MoG": {"name": "made_mog", **HIDDEN},
    "MAF (5)": {"name": "maf", "num_layers": 5, "batch_norm": False, **HIDDEN},
    "Real NVP (10)": {"name": "real_nvp", "num_layers": 10, "batch_norm": False, **HIDDEN},
    "NSF, couplings": {"name": "nsf_coupling", "num_layers": 4, **TWO_HIDDEN},
    "NSF,\nautoregressive": {"name": "nsf_autoregressive", "num_layers": 3, **TWO_HIDDEN},
    "NAF": {"name": "naf", "num_layers": 2, "num_units": 8, **TWO_HIDDEN},
    "BNAF": {"name": "bnaf", "num_layers": 4, "hidden_units": (16,)},
    "Gaussianization": {"name": "gaussianization", "num_layers": 8},
    "planar": {"name": "planar", "num_layers": 32},
    "radial": {"name": "radial_flow", "num_layers": 32},
    "Sylvester": {"name": "sylvester", "num_layers": 16, "num_reflections": 2},
    "residual": {"name": "residual_flow", "num_layers": 6, "hidden_sizes": (32, 32)},
    "fully connected": {
        "name": "fully_connected",
        "num_layers": 32,
        "nonlinearity": {"name": "smooth_leaky_relu", "alpha": 0.3},
        "whiten": True,
    },
    "fully connected,\nlearned maps": {"name": "fully_connected_learned", "num_layers": 8},
}
STEPS, BATCH, RATE = 1500, 200, 5e-3
# Dense matrices take longer steps. Chosen, with the depth, by the validation sets of three toys.
RATES = {"fully connected": 0.1}


def main() -> None:
    data = {toy: flowzoo.load_dataset(f"toy/{toy}") for toy in TOYS}
    squares = []
    for dataset in data.values():
        x = dataset.train.x
        squares.append(square((x.max(0) + x.min(0)) / 2, 0.55 * np.ptp(x, axis=0).max(), 120))
    rows = len(FAMILIES) + 1
    figure = Figure(figsize=(1.25 * len(data) + 1, 1.35 * rows))
    axes = figure.subplots(rows, len(data))
    for panel, (toy, dataset), (_, extent) in zip(axes[0], data.items(), squares, strict=True):
        panel.hist2d(*dataset.train.x.T, bins=60, range=(extent[:2], extent[2:]), cmap=MAP)
        panel.set_title(toy.replace("_", " "), size=9, color=GREY)
    axes[0, 0].set_ylabel("data", size=9, color=GREY)
    for row, (family, options) in zip(axes[1:], FAMILIES.items(), strict=True):
        rate = RATES.get(family, RATE)
        flows = fit(options, [dataset.train.x for dataset in data.values()], rate)
        for panel, flow, dataset, (grid, extent) in zip(
            row, flows, data.values(), squares, strict=True
        ):
            nats = float(log_prob(flow, jnp.asarray(dataset.test.x)).mean())
            print(f"{family!r:32} {dataset.name:26} {nats:8.3f} nats", flush=True)
            density = np.exp(np.asarray(log_prob(flow, jnp.asarray(grid))))
            panel.imshow(density, origin="lower", extent=extent, cmap=MAP, aspect="auto")
            panel.set_title(f"{nats:.2f}", size=8, color=GREY, pad=2)
        row[0].set_ylabel(family, size=9, color=GREY)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
        panel.set_box_aspect(1)
        for side in panel.spines.values():
            side.set_visible(False)
    figure.subplots_adjust(wspace=0.06, hspace=0.2)
    save(figure, IMAGES / "gallery.png")


@jax.jit
def log_prob(flow, x):
    return flow.log_prob(x)


def fit(options: dict, data: list[np.ndarray], rate: float) -> list[flowzoo.Flow]:
    """One flow for each array, all of them trained at once by Adam under a cosine schedule."""
    flows = []
    for x in data:
        flow = flowzoo.build({**options, "standardize": True}, (2,), rngs=nnx.Rngs(0))
        flow.initialize(x)
        flows.append(flow)
    if options["name"] == "gaussian":  # it is fitted in closed form
        return flows
    graph = nnx.split(flows[0])[0]
    split = [nnx.split(flow, nnx.Param, ...)[1:] for flow in flows]
    params, rest = jax.tree.map(lambda *arrays: jnp.stack(arrays), *split)
    optimizer = optax.chain(
        optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(rate, STEPS))
    )

    def loss(params, rest, x):
        return -nnx.merge(graph, params, rest).log_prob(x).mean()

    @functools.partial(jax.jit, static_argnums=3)
    @functools.partial(jax.vmap, in_axes=(0, 0, 0, None))
    def train(params, rest, x, steps):
        def step(carry, key):
            params, state = carry
            rows = jax.random.randint(key, (BATCH,), 0, len(x))
            updates, state = optimizer.update(jax.grad(loss)(params, rest, x[rows]), state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(jax.random.key(0), steps)
        return jax.lax.scan(step, (params, optimizer.init(params)), keys)[0][0]

    params = train(params, rest, jnp.stack(data), STEPS)
    trained = [jax.tree.map(lambda a: a[i], (params, rest)) for i in range(len(data))]  # noqa: B023
    return [nnx.merge(graph, *arrays) for arrays in trained]


if __name__ == "__main__":
    sys.exit(main())
