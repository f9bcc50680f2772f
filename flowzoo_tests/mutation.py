"""Puts small faults into the source, one at a time, and lists those that no test notices.

    pip install -e '.[test,mutation]'
    python -m flowzoo_tests.mutation [--each=5] [--seed=0] [--only=relative/adam] [--out=FILE]

cosmic-ray makes the faults: another operator, another number, a loop that is left out. Of each
module in `TESTS` some are drawn at random, and the tests beside it are run on a copy of the
checkout. A fault that leaves them green is a survivor. `mutation_survivors.md` has those of the
last run, each with the reason why it may live.
"""

import contextlib
import os
from pathlib import Path
import random
import shutil
import subprocess
import sys
import tempfile

from absl import flags

from flowzoo import command_line
from flowzoo.numerics.names import unknown

_EACH = flags.DEFINE_integer("each", 5, "How many faults of each module.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Which of them.", lower_bound=0)
_ONLY = flags.DEFINE_list("only", [], "Modules, such as relative/adam; all by default.")
_OUT = flags.DEFINE_string("out", None, "A file for the survivors; otherwise they are printed.")

ROOT = Path(__file__).parents[1]
TIMEOUT = 300.0
# A module under flowzoo/, and the tests under flowzoo_tests/ that are to notice its faults, one
# file or several.
TESTS = {
    "relative/adam": "relative/test_multiplicative.py",
    "relative/fused": "relative/test_fused.py",
    "relative/muon": "relative/test_muon.py relative/test_multiplicative.py",
    "relative/selection": "relative/test_optax_transform.py",
    "relative/trust_region": "relative/test_trust_region.py",
    "training/evaluation": "training/test_evaluation.py",
    "training/grid": "training/test_grid.py",
    "training/optimizer": "training/test_optimizer.py",
    "training/step": "training/test_step.py",
    "training/workdir": "training/test_workdir.py",
    "data/arrays": "data/test_arrays.py",
    "data/mixing": "data/test_mixing.py",
    "data/png": "data/test_png.py",
    "data/published_steps": "data/test_published_steps.py",
    "data/sphere_mixture": "data/test_sphere_mixture.py",
}
# `X | None` is a type far more often than a number.
LEFT_OUT = "_BitOr_"


def main(argv: list[str]) -> None:
    modules = _ONLY.value or list(TESTS)
    for module in modules:
        if module not in TESTS:
            raise ValueError(unknown("module", module, TESTS))
    survivors, count = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        copy_checkout(Path(folder))
        os.environ["PYTHONPATH"] = folder
        for module in modules:
            results = [run(item, TESTS[module]) for item in faults(module)]
            lived = [result.diff for result in results if result.test_outcome == "survived"]
            print(f"{module}: {len(results) - len(lived)} of {len(results)} noticed", flush=True)
            survivors += lived
            count += len(results)
    text = "\n\n".join(f"```diff\n{diff.strip()}\n```" for diff in survivors)
    print(f"{count - len(survivors)} of {count} faults were noticed.")
    if _OUT.value is None:
        print(text)
    else:
        Path(_OUT.value).write_text(text + "\n", encoding="utf-8")


def copy_checkout(folder: Path) -> None:
    """Copies the files that git knows, with their changes."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target, follow_symlinks=False)


def faults(module: str) -> list:
    """A random choice of the faults that cosmic-ray finds in a module."""
    from cosmic_ray.commands import init
    from cosmic_ray.work_db import use_db

    with use_db(f"{module.replace('/', '_')}.sqlite") as database:
        init([Path("flowzoo") / f"{module}.py"], database, {})
        items = [
            item for item in database.work_items if LEFT_OUT not in item.mutations[0].operator_name
        ]
    items.sort(key=lambda item: (item.mutations[0].operator_name, item.mutations[0].occurrence))
    return random.Random(f"{_SEED.value} {module}").sample(items, min(_EACH.value, len(items)))


def run(item, tests: str):
    """Runs the tests on one fault."""
    from cosmic_ray.mutating import mutate_and_test

    files = " ".join(f"flowzoo_tests/{name}" for name in tests.split())
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {files}"
    return mutate_and_test(item.mutations, command, TIMEOUT)


if __name__ == "__main__":
    command_line.run(main)
