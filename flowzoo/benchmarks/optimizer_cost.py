"""Time of a training step against the optimizer of the dense layers.

    python -m flowzoo.benchmarks.optimizer_cost [--dims=63,256,784] [--batch_sizes=100,500]
        [--parts=8,16] [--num_layers=2] [--repeats=5] [--out=DIR]

The paper's flow on noise: all of a training step is measured, as training runs it, many steps a
dispatch. Steps are taken in turn, and a ratio is the median of the ratios within each round.

    adam            Adam on relative gradients
    relative_adam   Adam in multiplicative coordinates
    relative_muon   momentum, five Newton–Schulz steps
    …_8, …_16       the D/8, D/16 largest singular values clipped

Multiply-adds a layer and step, next to which Adam's and momentum's passes over D × D arrays count
where the batch is small: `adam` 4 B D²; the others 3 B D², and D³ for the product with W; relative
Muon 15 D³, or 3 r D², more.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
import jax
import jax.numpy as jnp
from ml_collections import config_dict
import numpy as np

from flowzoo import command_line
from flowzoo.benchmarks import timing
from flowzoo.data.dataset import Dataset, Split
from flowzoo.reporting import tables
from flowzoo.training.config import default_config
from flowzoo.training.loop import Run
from flowzoo.transforms import Affine

FLOOR = "adam"
# So small that the weights stay what they are; the work does not depend on it.
RATE = 1e-9
BATCHES = 8


def methods(parts: Sequence[int]) -> dict[str, tuple[str, int | None]]:
    """The optimizer and the part of the spectrum of each method."""
    plain = {name: (name, None) for name in (FLOOR, "relative_adam", "relative_muon")}
    return plain | {f"relative_muon_{part}": ("relative_muon", part) for part in parts}


def make_steps(
    optimizer: str, part: int | None, dim: int, batch_size: int, num_layers: int
) -> Callable[[int], object]:
    """A program that takes so many steps of training."""
    config = config_dict.ConfigDict(default_config().to_dict())
    config.update(name="noise/steps", title="Steps", batch_size=batch_size)
    config.model = config_dict.ConfigDict(dict(name="fully_connected", num_layers=num_layers))
    rank = None if part is None else max(1, dim // part)
    config.optimizer.update(name=optimizer, learning_rate=RATE, dense_learning_rate=RATE, rank=rank)
    noise = np.random.default_rng(0).normal(size=(BATCHES * batch_size, dim)).astype(np.float32)
    split = Split(noise)
    dataset = Dataset(
        name="noise", train=split, validation=split, test=split, preprocessing=Affine((dim,))
    )
    run = Run(config, dataset)
    state = run.start()
    order = run.shuffle(state.key, 0)
    run.compile_steps(state)

    def program(count: int) -> None:
        nonlocal state
        stop = jnp.int32(state.step + count)
        state, report = run.run_steps(state, run.x, run.labels, order, stop)
        jax.block_until_ready(state)
        if int(report.failed_step) >= 0:
            raise FloatingPointError(f"A step of {optimizer} at D = {dim} was not finite.")

    return program


def measure(
    dims: Sequence[int],
    batch_sizes: Sequence[int],
    parts: Sequence[int],
    *,
    num_layers: int,
    repeats: int,
) -> list[dict]:
    """One record for each size: the seconds of each method in each round."""
    records = []
    for dim in dims:
        for batch_size in batch_sizes:
            programs = {
                name: make_steps(*method, dim, batch_size, num_layers)
                for name, method in methods(parts).items()
            }
            seconds = timing.interleaved(programs, repeats=repeats, min_seconds=0.3)
            record = {"dim": dim, "batch_size": batch_size, "num_layers": num_layers}
            records.append(record | {"seconds": {k: v.tolist() for k, v in seconds.items()}})
            print(table(records[-1:]), flush=True)
    return records


def table(records: Sequence[dict]) -> str:
    """Times of the floor and the others' ratios to it, with quartiles."""
    names = list(records[0]["seconds"])
    head = ["D", "B", f"{FLOOR}, ms", *(f"{name}, ratio" for name in names if name != FLOOR)]
    rows = []
    for record in records:
        seconds = {name: np.array(values) for name, values in record["seconds"].items()}
        ratios = []
        for name in names:
            if name != FLOOR:
                middle, low, high = timing.ratio(seconds[name], seconds[FLOOR])
                ratios.append(f"{middle:.2f} ({low:.2f} … {high:.2f})")
        floor = 1e3 * float(np.median(seconds[FLOOR]))
        rows.append([record["dim"], record["batch_size"], f"{floor:.2f}", *ratios])
    return tables.markdown(head, rows)


def main(
    dims: Sequence[int],
    batch_sizes: Sequence[int],
    parts: Sequence[int],
    out: Path | None = None,
    **options,
) -> None:
    records = measure(dims, batch_sizes, parts, **options)
    if out is not None:
        tables.save(out, "optimizer_cost", records, table(records))


if __name__ == "__main__":
    DIMS = flags.DEFINE_list("dims", ["63", "256", "784"], "Sizes D.")
    SIZES = flags.DEFINE_list("batch_sizes", ["100", "500"], "Batch sizes B.")
    PARTS = flags.DEFINE_list("parts", ["8", "16"], "Clip the D/part largest singular values.")
    LAYERS = flags.DEFINE_integer("num_layers", 2, "Dense layers.")
    REPEATS = flags.DEFINE_integer("repeats", 5, "Rounds.")
    OUT = flags.DEFINE_string("out", None, "Folder for optimizer_cost.json and .md.")

    def run(argv):
        del argv
        main(
            [int(dim) for dim in DIMS.value],
            [int(size) for size in SIZES.value],
            [int(part) for part in PARTS.value],
            None if OUT.value is None else Path(OUT.value),
            num_layers=LAYERS.value,
            repeats=REPEATS.value,
        )

    command_line.run(run)
