"""Which optimizer belongs on top of the relative gradient?

    python -m flowzoo.studies.optimizers [--tasks=moons,digits,digits_learned,mnist,four_layers,…]
        [--methods=relative_muon,adam_ordinary,…] [--starts=…] [--conditions=1,100,…] [--seeds=3]

Each optimizer trains the same flow from the same start at four learning rates, which fall to zero
along a cosine, and at further ones as long as the best is at an end of those tried. The rate with
the best validation likelihood is kept, and more seeds are trained with it alone. Nats are
validation nats, the best of a run, and the test set is never looked at. Seconds are those of the
steps, without compilation and evaluation.

The tasks are the paper's fully connected flow on a toy density, the digits and MNIST, the flow with
learned maps on the digits, where only the dense layers' optimizer changes, a short run of one on
BSDS300, and nonlinear ICA behind four and five layers of mixing, from a single start. The first
task of the list is also started otherwise than by its own start, and trained on stretched data:
`x' = diag(s) V x` with a random rotation V and the condition number max s / min s, once from the
same start as ever and once from the one that has the same outputs, where an equivariant optimizer
has the same curve. `sgd` and `adam` under `relative` are the comparison of the paper's figures 5
and 6.

`cayley` and `svd` stand for flows whose matrices are orthogonal up to scales, or made of orthogonal
ones, trained by Adam: `W = Q diag(s)` with Q by the Cayley map, and `W = Q_1 diag(s) Q_2`. Their
log-determinants are sums, their inverses transpositions.

Source: Gresele et al., arXiv 2006.15090, appendix H; docs/method_multiplicative.md.
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import math
from types import SimpleNamespace
from typing import NamedTuple

from matplotlib.figure import Figure
import numpy as np

from flowzoo.reporting import tables
from flowzoo.studies import study
from flowzoo.studies.curves import curve
from flowzoo.studies.study import Option, Record, Study
from flowzoo.studies.tasks import METHODS, STARTS, TASKS, Cell, run_of

OPTIONS = {
    "tasks": Option(
        ("digits", "digits_learned", "moons"), "Flows and data.", ("digits",), choices=tuple(TASKS)
    ),
    "methods": Option(
        tuple(METHODS), "Optimizers.", ("adam_relative", "relative_muon"), choices=tuple(METHODS)
    ),
    "starts": Option(STARTS, "Starts of the first task.", ("own",), choices=STARTS),
    "conditions": Option(
        (1.0, 1e2, 1e4, 1e6), "Condition numbers of the first task's data.", (1.0, 1e6), least=1
    ),
    "seeds": Option(3, "Runs at the best rate.", 1, least=1),
    "epochs": Option(0, "Of every run; 0: each task's own.", 2, least=0),
    "data_dir": Option("", "Where MNIST and BSDS300 are; empty: as for training."),
    "seed": Option(0, "Of the first run.", least=0),
}

MORE_RATES = 4  # at most, beyond those of a method
# Ways of descent, each of a color of its own.
COLORS = (
    "sgd",
    "momentum",
    "adam",
    "muon",
    "relative_adam",
    "relative_muon",
    "relative_muon_8th",
    "cayley",
    "svd",
)


class Found(NamedTuple):
    """Curves by cell, and each method's best rate by (task, start, condition, moved)."""

    settings: SimpleNamespace
    curves: dict[Cell, dict]
    rates: dict[tuple, float]


def measure(settings: SimpleNamespace, record: Record) -> Found:
    found = Found(settings, {}, {})

    def run(cell: Cell) -> float:
        epochs = settings.epochs or TASKS[cell.task].epochs
        key = cell._asdict() | {"epochs": epochs}
        result = record.cell(key, functools.partial(_measure, cell, epochs, settings.data_dir))
        found.curves[cell] = result
        return -np.inf if result["best"] is None else result["best"]

    for place in places(settings):
        for method in methods(settings, place["task"]):
            at = functools.partial(Cell, method=method, seed=settings.seed, **place)
            rate = best_rate(METHODS[method].rates, lambda rate, at=at: run(at(rate=rate)))
            best = at(rate=rate)
            found.rates[_key(best)] = rate
            if place["start"] == "own" and place["condition"] == 1:
                for seed in range(settings.seed + 1, settings.seed + settings.seeds):
                    run(best._replace(seed=seed))
    return found


def best_rate(rates: Sequence[float], score: Callable[[float], float]) -> float:
    """The rate with the highest score; while that is an end of the rates, one more is tried there.

    A further rate is 3 or 1 times a power of ten, and there are at most `MORE_RATES` of them.
    """
    scores = {rate: score(rate) for rate in rates}
    for _ in range(MORE_RATES):
        best = max(scores, key=scores.get)
        if best not in (min(scores), max(scores)):
            break
        half_decades = round(2 * math.log10(best)) + (1 if best == max(scores) else -1)
        further = float(f"{10 ** (half_decades / 2):.0e}")
        scores[further] = score(further)
    return max(scores, key=scores.get)


def _measure(cell: Cell, epochs: int, data_dir: str) -> dict:
    return curve(**run_of(cell, epochs, data_dir))


def _key(cell: Cell) -> tuple:
    return cell._replace(rate=0.0, seed=0)


def places(settings: SimpleNamespace) -> Iterator[dict]:
    """All but the method, the rate and the seed of the cells, those for the curves first."""
    first = settings.tasks[0]
    plain = dict(start="own", condition=1.0, moved=False)
    for task in settings.tasks:
        yield dict(task=task, **plain)
    for start in settings.starts:
        if start != "own":
            yield dict(task=first, **(plain | dict(start=start)))
    for condition in settings.conditions:
        if condition != 1:
            for moved in (True, False):
                yield dict(task=first, **(plain | dict(condition=condition, moved=moved)))


def methods(settings: SimpleNamespace, task: str) -> list[str]:
    """Those that a task takes."""
    return [m for m in settings.methods if TASKS[task].fits(METHODS[m])]


def chosen(found: Found, task: str, method: str, **place) -> list[dict]:
    """The curves at the best rate, of all seeds."""
    plain = dict(start="own", condition=1.0, moved=False) | place
    key = Cell(task=task, method=method, rate=0.0, seed=0, **plain)
    if key not in found.rates:
        return []
    rate = found.rates[key]
    return [
        c for cell, c in found.curves.items() if cell._replace(seed=0) == key._replace(rate=rate)
    ]


def _nats(curves: list[dict]) -> str:
    best = [c["best"] for c in curves if c["best"] is not None]
    if not best:
        return "diverged"
    spread = f" ± {np.std(best, ddof=1):.2f}" if len(best) > 1 else ""
    return f"{np.mean(best):.2f}{spread}"


def _correlation(curve: dict) -> list[str]:
    """That of latents and sources where the likelihood is best; nothing where there are none."""
    if "mcc" not in curve:
        return []
    if not curve["mcc"]:
        return ["diverged"]
    return [f"{curve['mcc'][int(np.argmax(curve['validation']))]:.3f}"]


def table(found: Found) -> str:
    settings, parts = found.settings, []
    for task in settings.tasks:
        rows = []
        for method in methods(settings, task):
            curves = chosen(found, task, method)
            rate = found.rates[_key(Cell(task, method, 0.0, 0, "own", 1.0, False))]
            first = curves[0]
            ms = 1e3 * first["seconds"][-1] / max(1, first["steps"]) if first["seconds"] else None
            row = [method, f"{rate:g}", _nats(curves), ms and f"{ms:.2f}"]
            rows.append([*row, *_correlation(first)])
        head = ["optimizer", "best rate", "validation nats", "ms a step"]
        if rows and len(rows[0]) > len(head):
            head.append("correlation")
        parts.append(f"{TASKS[task].title}\n\n{tables.markdown(head, rows)}")
    first = settings.tasks[0]
    others = [s for s in settings.starts if s != "own"]
    if others:
        rows = [
            [m, *(_nats(chosen(found, first, m, start=s)) for s in ("own", *others))]
            for m in methods(settings, first)
        ]
        head = ["optimizer", "own", *others]
        parts.append(f"{TASKS[first].title}, by start\n\n{tables.markdown(head, rows)}")
    stretched = [c for c in settings.conditions if c != 1]
    for moved in (True, False) if stretched else ():
        rows = [
            [
                method,
                _nats(chosen(found, first, method)[:1]),
                *(_nats(chosen(found, first, method, condition=c, moved=moved)) for c in stretched),
            ]
            for method in methods(settings, first)
        ]
        start = "from the start with the same outputs" if moved else "from the same start"
        head = ["optimizer", *(f"condition {c:g}" for c in (1, *stretched))]
        parts.append(
            f"{TASKS[first].title}, stretched data, {start}\n\n{tables.markdown(head, rows)}"
        )
    return "\n\n".join(parts)


def draw(found: Found) -> Figure:
    settings = found.settings
    figure = Figure(figsize=(15, 4 * len(settings.tasks)), layout="constrained")
    panels = figure.subplots(len(settings.tasks), 3, squeeze=False)
    lines = {}
    for row, task in zip(panels, settings.tasks, strict=True):
        top = -np.inf
        for method in methods(settings, task):
            curves = [c for c in chosen(found, task, method) if c["best"] is not None]
            for one in curves:
                (lines[method],) = row[0].plot(one["epochs"], one["validation"], **_look(method))
                row[1].plot(one["seconds"], one["validation"], **_look(method))
                top = max(top, one["best"])
        low = _floor(found, task, top)
        row[0].set(xlabel="epochs", ylabel="validation nats", title=TASKS[task].title)
        row[1].set(xlabel="seconds of training", xlim=(0, None))
        for axes in row[:2]:
            axes.set_ylim(low, top + 0.05 * (top - low))
        if any("mcc" in c for m in methods(settings, task) for c in chosen(found, task, m)):
            _draw_correlations(found, task, row[2])
        elif task == settings.tasks[0]:
            _draw_conditions(found, row[2])
        else:
            row[2].axis("off")
    figure.legend(lines.values(), lines, loc="outside right upper")
    return figure


def _draw_correlations(found: Found, task: str, axes) -> None:
    for method in methods(found.settings, task):
        for one in chosen(found, task, method):
            axes.plot(one["epochs"], one["mcc"], **_look(method))
    axes.set(xlabel="epochs", ylabel="correlation with the sources", ylim=(0, 1.02))


def _look(method: str) -> dict:
    """A color for each way of descent, dashes for ordinary gradients."""
    color = "C" + str(COLORS.index(method.removesuffix("_ordinary").removesuffix("_relative")))
    style = "--" if METHODS[method].gradient == "ordinary" else "-"
    return dict(color=color, linestyle=style, linewidth=1.3)


def _floor(found: Found, task: str, top: float) -> float:
    """A lower end of the axis below the worst method's best, but not below what diverged."""
    bests = [
        c["best"]
        for m in methods(found.settings, task)
        for c in chosen(found, task, m)
        if c["best"] is not None
    ]
    return top - 1.5 * (top - np.quantile(bests, 0.1)) - 1e-3 if bests else -1.0


def _draw_conditions(found: Found, axes) -> None:
    settings, task = found.settings, found.settings.tasks[0]
    conditions = [1.0, *(c for c in settings.conditions if c != 1)]
    for method in methods(settings, task):
        values = [chosen(found, task, method, condition=c, moved=c != 1) for c in conditions]
        values = [c[0]["best"] if c else None for c in values]
        values = [np.nan if value is None else value for value in values]
        axes.plot(conditions, values, marker="o", **_look(method))
    axes.set(xscale="log", xlabel="condition number of the data", title="the same outputs at first")


STUDY = Study("optimizers", OPTIONS, measure, table, draw)

if __name__ == "__main__":
    study.main(STUDY)
