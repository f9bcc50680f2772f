"""Preparing and training on the tabular suite, at full published size.

    python -m flowzoo.benchmarks.datasets [--names=power,gas] [--folder=DIR] [--configs=configs]

Random stand-ins in the formats of the original files are made in `--folder` and prepared as those
originals are, and the default model of the configs is trained on them for `--epochs` epochs.
Printed are the size of the float32 result, the seconds of preparing, its peak memory above what
the process held before (about 30 MB of it TFDS's own), the seconds of loading, and those of an
epoch, its validation included. Likelihoods of random numbers mean nothing and are not printed.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from flowzoo.benchmarks.stand_ins import MAKERS
from flowzoo.training.devices import usable_cores

NAMES = flags.DEFINE_list("names", list(MAKERS), "Which sets.")
FOLDER = flags.DEFINE_string("folder", None, "Where stand-ins are kept; by default they are not.")
CONFIGS = flags.DEFINE_string("configs", "configs", "The folder of the configs.")
EPOCHS = flags.DEFINE_integer("epochs", 3, "Epochs to train; the first one compiles.")
MAKE_ONLY = flags.DEFINE_bool("make_only", False, "Make the stand-ins, measure nothing.")

_PREPARE = """
import json, sys, time
import tensorflow_datasets
from flowzoo.benchmarks.datasets import memory, reset_peak
from flowzoo.data.tabular import load_tabular, prepare_tabular
import flowzoo.data.tabular_builder

name, source, target = sys.argv[1:]
before = memory("VmRSS")
reset_peak()
start = time.perf_counter()
prepare_tabular(name, data_dir=target, source=source)
prepare = time.perf_counter() - start
peak = memory("VmHWM") - before
start = time.perf_counter()
dataset = load_tabular(name, data_dir=target)
load = time.perf_counter() - start
size = sum(dataset.split(s).x.nbytes for s in ("train", "validation", "test"))
print(json.dumps(dict(prepare=prepare, load=load, peak=peak, size=size)))
"""


def memory(field: str) -> int:
    """Bytes of this process by Linux's account: `VmRSS` (now) or `VmHWM` (the peak)."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def reset_peak() -> None:
    """Makes `VmHWM` begin anew."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def measure_preparing(name: str, source: pathlib.Path, target: pathlib.Path) -> dict[str, float]:
    """Prepares and loads a set in a process of its own: seconds and bytes."""
    arguments = [sys.executable, "-c", _PREPARE, name, str(source), str(target)]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_epoch(name: str, data_dir: pathlib.Path, workdir: pathlib.Path) -> float:
    """Seconds of the last epoch of a short training."""
    subprocess.run(
        [
            *(sys.executable, "-m", "flowzoo.train"),
            f"--config={CONFIGS.value}/{name}.py",
            f"--config.dataset.data_dir={data_dir}",
            f"--config.num_epochs={EPOCHS.value}",
            f"--workdir={workdir}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    before, last = (json.loads(line)["seconds"] for line in lines[-2:])
    return last - before


def main(argv: list[str]) -> None:
    del argv
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(FOLDER.value or scratch)
        print(f"{usable_cores()} cores")
        for name in NAMES.value:
            source = folder / "originals" / name
            if not source.exists():
                start = time.perf_counter()
                making = folder / "making" / name
                making.mkdir(parents=True, exist_ok=True)
                MAKERS[name](making)
                source.parent.mkdir(exist_ok=True)
                making.rename(source)
                print(f"{name}: stand-in made in {time.perf_counter() - start:.0f} s", flush=True)
            if MAKE_ONLY.value:
                continue
            with tempfile.TemporaryDirectory(dir=folder) as target:
                found = measure_preparing(name, source, pathlib.Path(target))
                epoch = measure_epoch(name, pathlib.Path(target), pathlib.Path(target) / "run")
            print(
                f"{name}: {found['size'] / 1e6:.0f} MB prepared in {found['prepare']:.1f} s with "
                f"{found['peak'] / 1e6:.0f} MB of memory ({found['peak'] / found['size']:.2f} "
                f"times); loaded in {found['load']:.1f} s; {epoch:.2f} s an epoch",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
