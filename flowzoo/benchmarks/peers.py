"""Evaluating, sampling and training the same flows in several libraries.

    python -m flowzoo.benchmarks.peers [--flows=maf,nsf,real_nvp] [--libraries=flowjax,zuko]
        [--what=log_prob,train_step,sample,epoch] [--dim=63] [--batch=1000] [--samples=100]
        [--processor_time]

The flows are those of `flowzoo.benchmarks.peer_flows`, MAF and NSF of 5 layers and couplings of 10
with 512 hidden units, and the other families, of `flowzoo.benchmarks.peer_families`; all in
float32. log_prob and one Adam step of `--batch` points and `--samples` samples, all in `--dim`
dimensions; and an epoch of MAF: 100,000 points in 6 dimensions, batches of 100, by the library's
own training loop, `flowjax.train.fit_to_data` for one; for PyTorch by slices of a random
permutation. All in one process with as many threads each as there are cores, taking turns; a
library that cannot be imported is reported and left out. Where other programs use the cores too,
the time of the processors is the one to compare.
"""

import functools
import time

from absl import flags, logging
import jax
import numpy as np

from flowzoo import command_line
from flowzoo.benchmarks import peer_families, peer_flows, peer_models

FLOWS = peer_flows.FLOWS | peer_families.FLOWS
REFERENCE = "flowzoo"
LIBRARIES = list(dict.fromkeys(name for builders in FLOWS.values() for name in builders))
WHAT = ("log_prob", "train_step", "sample", "epoch")
EPOCH_ROWS, EPOCH_DIM, EPOCH_BATCH = 100_000, 6, 100


def data(rows: int, dim: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(rows, dim)).astype(np.float32)


def calls(what: str, models, *, dim: int, batch: int, samples: int):
    """A title, and name -> call, of what is timed."""
    if what == "sample":
        title, arguments = f"{samples} samples, D = {dim}", (samples,)
    elif what == "epoch":
        title = f"epoch of {EPOCH_ROWS:,} points, D = {EPOCH_DIM}, batch {EPOCH_BATCH}"
        arguments = data(EPOCH_ROWS, EPOCH_DIM), EPOCH_BATCH
    else:
        title, arguments = f"{what} of {batch} points, D = {dim}", (data(batch, dim),)
    return title, {
        name: functools.partial(getattr(model, what), *arguments) for name, model in models.items()
    }


def is_offered(name: str, call) -> bool:
    """Whether a library does what is called; some flows have no inverse in some libraries, or one
    that fails."""
    try:
        call()
    except RuntimeError as error:  # NotImplementedError is one.
        logging.warning("%s is left out: %s", name, error)
        return False
    return True


def table(rows: dict[str, dict[str, float]], libraries: list[str]) -> str:
    """Milliseconds of the reference, and each library's time over it."""
    width = max(len(title) for title in rows)
    lines = [f"{'':<{width}} {REFERENCE + ' ms':>12}" + "".join(f"{n:>14}" for n in libraries)]
    for title, medians in rows.items():
        unit = medians[REFERENCE]
        ratios = [f"{medians[n] / unit:.2f} x" if n in medians else "" for n in libraries]
        lines.append(f"{title:<{width}} {1e3 * unit:12.2f}" + "".join(f"{r:>14}" for r in ratios))
    return "\n".join(lines)


def main(
    names: list[str],
    libraries: list[str],
    whats: list[str],
    max_seconds: float,
    clock=time.perf_counter,
    **sizes,
):
    """Times every combination that exists and prints the ratios.

    Raises:
      ValueError: if a flow, a library or something to do is unknown.
    """
    for what, given, allowed in (
        ("flows", names, FLOWS),
        ("libraries", libraries, LIBRARIES),
        ("what", whats, WHAT),
    ):
        if unknown := set(given) - set(allowed):
            raise ValueError(
                f"--{what} names {', '.join(sorted(unknown))}, expected some of "
                f"{', '.join(allowed)}."
            )
    print(f"{peer_models.use_all_cores()} cores, {jax.devices()[0].device_kind}")
    rows = {}
    for flow in names:
        builders = {n: b for n, b in FLOWS[flow].items() if n in (REFERENCE, *libraries)}
        for what in whats:
            if what == "epoch" and flow != "maf":
                continue
            dim = EPOCH_DIM if what == "epoch" else sizes["dim"]
            models = peer_models.build_models(builders, dim)
            title, timed = calls(what, models, **sizes)
            timed = {name: call for name, call in timed.items() if is_offered(name, call)}
            rows[f"{flow}: {title}"] = peer_models.compare(
                f"{flow}: {title}",
                timed,
                reference=REFERENCE,
                repeats=20,
                max_seconds=max_seconds,
                clock=clock,
            )
    print("\n" + table(rows, [n for n in LIBRARIES if n in libraries and n != REFERENCE]))


if __name__ == "__main__":
    _FLOWS = flags.DEFINE_list("flows", list(FLOWS), "Flows to compare.")
    _LIBRARIES = flags.DEFINE_list(
        "libraries", [n for n in LIBRARIES if n != REFERENCE], "Libraries."
    )
    _WHAT = flags.DEFINE_list("what", list(WHAT), "What to time.")
    _DIM = flags.DEFINE_integer("dim", 63, "Dimension of the data.", lower_bound=2)
    _BATCH = flags.DEFINE_integer("batch", 1000, "Points in one call.", lower_bound=1)
    _SAMPLES = flags.DEFINE_integer("samples", 100, "Samples in one call.", lower_bound=1)
    _SECONDS = flags.DEFINE_float(
        "max_seconds", 10.0, "Time after which a program is called no more."
    )
    _PROCESSOR = flags.DEFINE_bool("processor_time", False, "Not the time of a clock on the wall.")
    command_line.run(
        lambda argv: main(
            _FLOWS.value,
            _LIBRARIES.value,
            _WHAT.value,
            _SECONDS.value,
            time.process_time if _PROCESSOR.value else time.perf_counter,
            dim=_DIM.value,
            batch=_BATCH.value,
            samples=_SAMPLES.value,
        )
    )
