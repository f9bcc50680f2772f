"""How near do flows come to densities that can only be evaluated, and how near does NUTS?

    python -m flowzoo.studies.reverse_kl [--targets=funnel,banana,mixture,logistic]

Four densities p, the first three normalised:

  funnel    Neal's: v ~ N(0, 3²) and nine more coordinates ~ N(0, eᵛ)
  banana    x ~ N(0, 2²) and y ~ N(x²/2, 1)
  mixture   three normals of the plane, of weights 0.5, 0.3, 0.2 and deviation 0.6, 3.5 apart
  logistic  the posterior of a logistic regression on scikit-learn's breast cancer data: 30
            standardised features and a constant, a standard normal prior of each weight

`flowzoo.fit_to_density` fits each flow q by the reverse Kullback–Leibler divergence; of the mixture
with the target tempered over half of the steps. Measured with 10,000 fresh samples of q are the
ELBO, which falls short of log Z by KL(q ‖ p), the estimate of log Z by importance weights and the
effective share of the samples. Means and standard deviations of the coordinates are held against
those of a long run of NUTS (NumPyro): the worst difference of means in units of the deviation, and
the least and greatest ratio of deviations. NUTS itself is held against independent draws where
there are such, of the funnel, the banana and the mixture. Needs the extra `numpyro`.
"""

from collections.abc import Callable
import functools
import time
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np
import sklearn.datasets

from flowzoo.fitting import fit_to_density
from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.study import Option, Record, Study

NUM_SAMPLES, SHOWN = 10_000, 400
# NUTS keeps every so many-th draw.
THINNING = 2
WEIGHTS, DEVIATION = np.array([0.5, 0.3, 0.2]), 0.6
CENTERS = 3.5 / np.sqrt(3) * np.array([[0, 1], [-np.sqrt(0.75), -0.5], [np.sqrt(0.75), -0.5]])

NETWORKS = {"hidden_sizes": (64, 64)}
# Name -> the model, and the other options of `fit_to_density`.
FLOWS = {
    "Gaussian": ("gaussian", {}),
    "Real NVP (6)": ({"name": "real_nvp", "num_layers": 6, "batch_norm": False} | NETWORKS, {}),
    "RQ-NSF (C)": ({"name": "nsf_coupling", "num_layers": 4, "bound": 6.0} | NETWORKS, {}),
    "inverse autoregressive (4)": (
        {"name": "maf", "num_layers": 4, "batch_norm": False} | NETWORKS,
        {"inverted": True, "sticking_the_landing": False},
    ),
}


class Target(NamedTuple):
    """A density: of D numbers, its logarithm, and independent draws or None."""

    dim: int
    log_density: Callable[[jax.Array], jax.Array]
    draw: Callable[[np.random.Generator, int], np.ndarray] | None
    log_normalizer: float | None


def _log_normal(x, mean, deviation):
    return -0.5 * ((x - mean) / deviation) ** 2 - jnp.log(deviation * jnp.sqrt(2 * jnp.pi))


def _funnel(x):
    rest = _log_normal(x[1:], 0.0, jnp.exp(x[0] / 2)).sum()
    return _log_normal(x[0], 0.0, 3.0) + rest


def _draw_funnel(rng, n):
    v = 3 * rng.normal(size=(n, 1))
    return np.concatenate([v, np.exp(v / 2) * rng.normal(size=(n, 9))], -1)


def _banana(x):
    return _log_normal(x[0], 0.0, 2.0) + _log_normal(x[1], 0.5 * x[0] ** 2, 1.0)


def _draw_banana(rng, n):
    x = 2 * rng.normal(size=n)
    return np.stack([x, 0.5 * x**2 + rng.normal(size=n)], -1)


def _mixture(x):
    each = _log_normal(x, jnp.asarray(CENTERS, x.dtype), DEVIATION).sum(-1)
    return jax.nn.logsumexp(each + jnp.log(jnp.asarray(WEIGHTS, x.dtype)))


def _draw_mixture(rng, n):
    return CENTERS[rng.choice(3, n, p=WEIGHTS)] + DEVIATION * rng.normal(size=(n, 2))


@functools.cache
def _patients() -> tuple[np.ndarray, np.ndarray]:
    """Standardised features with a constant `[569, 31]`, and ±1."""
    data = sklearn.datasets.load_breast_cancer()
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    x = np.concatenate([x, np.ones((len(x), 1))], -1).astype(np.float32)
    return x, (2 * data.target - 1).astype(np.float32)


def _logistic(w):
    x, sign = _patients()
    return jax.nn.log_sigmoid(sign * (x @ w)).sum() + _log_normal(w, 0.0, 1.0).sum()


TARGETS = {
    "funnel": Target(10, _funnel, _draw_funnel, 0.0),
    "banana": Target(2, _banana, _draw_banana, 0.0),
    "mixture": Target(2, _mixture, _draw_mixture, 0.0),
    "logistic": Target(31, _logistic, None, None),
}
OPTIONS = {
    "targets": Option(tuple(TARGETS), "Densities.", ("banana",), choices=tuple(TARGETS)),
    "flows": Option(tuple(FLOWS), "Flows.", ("Gaussian",), choices=tuple(FLOWS)),
    "steps": Option(2000, "Steps of training.", 20, least=1),
    "draws": Option(20_000, "Steps of NUTS after a fifth as many of warm-up.", 50, least=10),
    "seed": Option(0, "Of everything.", least=0),
}


def fitted(name: str, flow: str, steps: int, seed: int) -> dict:
    """One flow on one density."""
    target, (model, options) = TARGETS[name], FLOWS[flow]
    start = time.perf_counter()
    fit = fit_to_density(
        target.log_density,
        (target.dim,),
        model,
        annealing=0.5 if name == "mixture" else 0.0,
        num_steps=steps,
        learning_rate=1e-2 if flow == "Gaussian" else 2e-3,
        num_samples=NUM_SAMPLES,
        seed=seed,
        **options,
    )
    seconds = time.perf_counter() - start
    x = np.asarray(jax.jit(lambda f, key: f.sample(key, (NUM_SAMPLES,)))(fit.flow, _key(seed)))
    return {
        "elbo": fit.elbo,
        "error": fit.elbo_error,
        "log_normalizer": fit.log_normalizer,
        "effective": fit.effective_sample_size,
        "fit_seconds": seconds,
        **_moments(x),
    }


def nuts(name: str, draws: int, seed: int) -> dict:
    """A run of NUTS, and how many independent draws it is worth, by the worst coordinate.

    Raises:
      ImportError: if NumPyro is not installed.
    """
    try:
        import numpyro.diagnostics
        from numpyro.infer import MCMC, NUTS
    except ImportError:
        raise ImportError(
            "The study reverse_kl needs NumPyro, which is not installed: pip install "
            "'flowzoo[numpyro]', or pip install numpyro."
        ) from None

    target = TARGETS[name]
    sampler = MCMC(
        NUTS(potential_fn=lambda x: -target.log_density(x)),
        num_warmup=max(draws // 5, 10),
        num_samples=draws,
        thinning=THINNING,
        progress_bar=False,
    )
    start = time.perf_counter()
    sampler.run(_key(seed), init_params=0.1 * jax.random.normal(_key(seed), (target.dim,)))
    x = np.asarray(sampler.get_samples())
    effective = numpyro.diagnostics.effective_sample_size(x[None].astype(float))
    seconds = time.perf_counter() - start
    found = {"effective_draws": float(np.min(effective)), "nuts_seconds": seconds}
    return found | _moments(x)


def exact(name: str, seed: int) -> dict:
    """Independent draws."""
    return _moments(TARGETS[name].draw(np.random.default_rng(seed), 200_000))


def _key(seed: int) -> jax.Array:
    return jax.random.key(seed + 100)


def _moments(x: np.ndarray) -> dict:
    x = x.astype(float)
    shown = x[:: max(1, len(x) // SHOWN)][:SHOWN, :2]
    return {"mean": x.mean(0), "deviation": x.std(0), "shown": np.round(shown, 2)}


def against(one: dict, other: dict) -> tuple[float, float, float]:
    """The worst difference of means in deviations of the other, and the extreme ratios of
    deviations."""
    mean, deviation, means, deviations = (
        np.array(cell[key], float) for cell in (one, other) for key in ("mean", "deviation")
    )
    ratio = deviation / deviations
    return float(np.abs((mean - means) / deviations).max()), float(ratio.min()), float(ratio.max())


def measure(settings: SimpleNamespace, record: Record) -> dict:
    seed, wanted = settings.seed, {}
    for name in settings.targets:
        key = {"target": name, "seed": seed}
        measured = functools.partial(nuts, name, settings.draws, seed)
        wanted[name, "NUTS"] = (key | {"draws": settings.draws}, measured)
        if TARGETS[name].draw is not None:
            measured = functools.partial(exact, name, seed)
            wanted[name, "independent"] = (key | {"independent": True}, measured)
        for flow in settings.flows:
            measured = functools.partial(fitted, name, flow, settings.steps, seed)
            wanted[name, flow] = (key | {"flow": flow, "steps": settings.steps}, measured)
    return {"settings": settings, "cells": record.cells(wanted)}


def table(found: dict) -> str:
    settings, cells = found["settings"], found["cells"]
    header = ["density", "by", "ELBO", "log Z by weights", "log Z", "effective share"]
    header += ["means, worst", "deviations, ratios", "seconds"]
    rows = []
    for name in settings.targets:
        sampler, truth = cells[name, "NUTS"], TARGETS[name].log_normalizer
        if (draws := cells.get((name, "independent"))) is not None:
            share = f"{sampler['effective_draws']:.0f} draws"
            row = [name, "NUTS, against independent draws", None, None, None, share]
            rows.append([*row, *_compared(sampler, draws), f"{sampler['nuts_seconds']:.0f}"])
        else:
            share = f"{sampler['effective_draws']:.0f} draws"
            row = [name, "NUTS", None, None, None, share, None, None]
            rows.append([*row, f"{sampler['nuts_seconds']:.0f}"])
        for flow in settings.flows:
            cell = cells[name, flow]
            elbo = f"{cell['elbo']:.3f} ± {2 * cell['error']:.3f}"
            weighted = f"{cell['log_normalizer']:.3f}"
            known = None if truth is None else f"{truth:g}"
            row = [name, flow, elbo, weighted, known, f"{cell['effective']:.3f}"]
            reference = sampler if draws is None else draws
            rows.append([*row, *_compared(cell, reference), f"{cell['fit_seconds']:.0f}"])
    return tables.markdown(header, rows)


def _compared(cell: dict, other: dict) -> list[str]:
    mean, least, most = against(cell, other)
    return [f"{mean:.2f}", f"{least:.2f} … {most:.2f}"]


def draw(found: dict) -> Figure:
    """The first two coordinates: a sample of each flow over one of NUTS."""
    settings, cells = found["settings"], found["cells"]
    size = (2.4 * len(settings.flows), 2.4 * len(settings.targets))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(settings.targets), len(settings.flows), squeeze=False)
    for row, name in zip(panels, settings.targets, strict=True):
        sampler = np.array(cells[name, "NUTS"]["shown"])
        center, reach = sampler.mean(0), 3.5 * sampler.std(0)
        for axes, flow in zip(row, settings.flows, strict=True):
            points = np.array(cells[name, flow]["shown"])
            for each, style in ((sampler, "0.6"), (points, "C0")):
                axes.scatter(*each.T, s=3, linewidths=0, color=style)
            axes.set(xticks=[], yticks=[], title=f"{name}, {flow}")
            axes.set(xlim=(center[0] - reach[0], center[0] + reach[0]))
            axes.set(ylim=(center[1] - reach[1], center[1] + reach[1]))
            axes.title.set_size(7)
    return figure


STUDY = Study("reverse_kl", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
