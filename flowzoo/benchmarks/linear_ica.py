"""Linear ICA against FastICA of scikit-learn and picard, on the same data.

    python -m flowzoo.benchmarks.linear_ica [--dims=64,256] [--rows=50000] [--repeats=2]
        [--family=laplace] [--methods=flowzoo,fastica,picard] [--out=DIR]

Laplace or sparse sources through one well-conditioned matrix. `fit_linear` and picard climb the
likelihood of the same model, Infomax, until the largest entry of the relative gradient is below
1e-4: their solutions should be one. FastICA has another criterion; its options are the defaults,
which are those of its authors.

Seconds are processor time, and the least of some calls: programs that use one thread are compared
fairly on a machine that has other work. Pin the process to one core, where the libraries would
otherwise share the work among several (`taskset -c 0`). Amari distances, between 0 and 1, are those
from the true matrix and from picard's solution.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
import time
import warnings

from absl import flags
import numpy as np

from flowzoo import command_line, ica
from flowzoo.reporting import tables

TOLERANCE = 1e-4


def flowzoo(x: np.ndarray) -> np.ndarray:
    return np.asarray(ica.fit_linear(x, tolerance=TOLERANCE).flow.transform.weight[...])


def fastica(x: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import FastICA

    return FastICA(whiten="unit-variance", random_state=0).fit(x).components_


def picard(x: np.ndarray) -> np.ndarray:
    from picard import picard as fit

    whiten, weight, _ = fit(x.T, ortho=False, extended=False, tol=TOLERANCE, random_state=0)
    return weight @ whiten


METHODS = {"flowzoo": flowzoo, "fastica": fastica, "picard": picard}
WORDS = {"flowzoo": "flowzoo, fit_linear", "fastica": "FastICA", "picard": "picard, Infomax"}


def measure(
    dims: Sequence[int],
    methods: Sequence[str],
    *,
    rows: int,
    repeats: int,
    family: str = "laplace",
    seed: int = 1,
) -> list[dict]:
    """One record for each number of sources and method.

    Raises:
      ValueError: if there is no such method, or a number is too small.
      ModuleNotFoundError: if a method's library is not installed.
    """
    for name in methods:
        if name not in METHODS:
            raise ValueError(f"There is no method {name!r}, expected among {', '.join(METHODS)}.")
    if repeats < 1 or min(dims) < 2:
        raise ValueError(
            f"The benchmark got dims {list(dims)} and repeats {repeats}, expected at least two "
            "sources and one call."
        )
    records = []
    for dim in dims:
        data = ica.generators.linear(seed, dim=dim, rows=rows, family=family)
        found = {}
        for name in methods:
            weight, seconds, failed = _timed(METHODS[name], data.x, repeats)
            found[name] = weight
            records.append(
                {
                    "dim": dim,
                    "rows": rows,
                    "family": family,
                    "method": name,
                    "seconds": seconds,
                    "converged": not failed,
                    "amari": ica.amari(weight, data.jacobian),
                }
            )
            print(records[-1], flush=True)
        if "picard" in found:
            inverse = np.linalg.inv(found["picard"].astype(np.float64))
            for record in records[-len(methods) :]:
                record["amari_to_picard"] = ica.amari(found[record["method"]], inverse)
    return records


def _timed(method: Callable, x: np.ndarray, repeats: int) -> tuple[np.ndarray, list[float], bool]:
    """The unmixing matrix, seconds of each call, and whether the library said that it failed."""
    seconds = []
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(repeats):
            began = time.process_time()
            weight = method(x)
            seconds.append(time.process_time() - began)
    return weight, seconds, any("converge" in str(one.message) for one in seen)


def table(records: Sequence[dict]) -> str:
    head = ["D", "method", "seconds", "first call", "distance from the truth", "from picard"]
    rows = []
    for record in records:
        least, first = min(record["seconds"]), record["seconds"][0]
        rows.append(
            [
                record["dim"],
                WORDS[record["method"]] + ("" if record["converged"] else ", not converged"),
                f"{least:.3g}",
                f"{first:.3g}" if len(record["seconds"]) > 1 else "",
                f"{record['amari']:.5f}",
                f"{record['amari_to_picard']:.1e}" if "amari_to_picard" in record else "",
            ]
        )
    return tables.markdown(head, rows)


def main(
    dims: Sequence[int], methods: Sequence[str], out: Path | None = None, **options: int | str
) -> None:
    records = measure(dims, methods, **options)
    print(table(records))
    if out is not None:
        tables.save(out, "linear_ica", records, table(records))


if __name__ == "__main__":
    DIMS = flags.DEFINE_list("dims", ["64", "256"], "Numbers of sources D.")
    NAMES = flags.DEFINE_list("methods", list(METHODS), "What is measured.")
    ROWS = flags.DEFINE_integer("rows", 50_000, "Rows of the data.")
    FAMILY = flags.DEFINE_string("family", "laplace", "Of the sources: laplace or sparse.")
    REPEATS = flags.DEFINE_integer("repeats", 2, "Calls of each, of which the fastest counts.")
    OUT = flags.DEFINE_string("out", None, "Folder for linear_ica.json and .md.")

    def run(argv):
        del argv
        main(
            [int(dim) for dim in DIMS.value],
            NAMES.value,
            None if OUT.value is None else Path(OUT.value),
            rows=ROWS.value,
            family=FAMILY.value,
            repeats=REPEATS.value,
        )

    command_line.run(run)
