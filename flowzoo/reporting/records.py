"""One record for each run: what tables, cards and pages are made of."""

from collections.abc import Iterator, Sequence
import dataclasses
import json
import pathlib
from typing import Any

from etils import epath

from flowzoo.training.metrics import read_metrics
from flowzoo.training.workdir import BEST, CONFIG, RESULTS, read_json, write_json

# In the learning curve of a record.
CURVE_POINTS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A finished run. None stands for what is not known.

    Attributes:
      name: the config's, DATASET/ENTRY with its flags; `results/NAME.json` holds the record.
      title: the model in words.
      dataset: what `flowzoo.load_dataset` calls it.
      data_note: in what the data differ from the published ones.
      conditional: whether the model is conditioned on the labels.
      limit: of each split's rows, if only a part was used, else 0.
      log_likelihood_nats: of the test split, a mean; of a conditional model with the labels summed
        out.
      two_standard_errors: of that mean.
      bits_per_dim: the same in bits, of images.
      mcc: the mean correlation of the latents with the true sources, of mixtures.
      num_events: in the test split.
      validation_nats: the best epoch's, of the validation split.
      num_parameters: trained numbers.
      epochs: that were trained.
      best_epoch: which of them was tested.
      seed: of the run.
      wall_seconds: of training.
      processor_seconds: of training, of all cores together.
      device: what it ran on, in words.
      command: that trains it again.
      commit: of flowzoo.
      versions: of flowzoo, jax and flax.
      date: when it ended, `2026-11-24`.
      config: all of it.
      learning_curve: `epoch`, `train_nats` and `validation_nats` of each evaluation, as columns; at
        most 100 of them.
      remark: anything else a reader must know.
    """

    name: str
    title: str
    dataset: str
    data_note: str | None = None
    conditional: bool = False
    limit: int = 0
    log_likelihood_nats: float
    two_standard_errors: float
    bits_per_dim: float | None = None
    mcc: float | None = None
    num_events: int | None = None
    validation_nats: float | None = None
    num_parameters: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    seed: int | None = None
    wall_seconds: float | None = None
    processor_seconds: float | None = None
    device: str | None = None
    command: str | None = None
    commit: str | None = None
    versions: str | None = None
    date: str | None = None
    config: dict[str, Any] | None = None
    learning_curve: dict[str, list[float]] | None = None
    remark: str | None = None


_FIELDS = {field.name: field for field in dataclasses.fields(Record)}


def from_json(contents: Any, where: str) -> Record:
    """A record out of a JSON object; keys that are not its fields are left out.

    Raises:
      ValueError: if it is no object, or a field that has no default is missing or of another kind.
    """
    if not isinstance(contents, dict):
        raise ValueError(f"{where} holds no results, expected a JSON object; it was damaged.")
    needed = {
        name: field.type for name, field in _FIELDS.items() if field.default is dataclasses.MISSING
    }
    for name, kind in needed.items():
        value = contents.get(name)
        if not isinstance(value, str if kind is str else int | float):
            raise ValueError(
                f"{where} holds {name} {value!r}, expected "
                f"{'a text' if kind is str else 'a number'}; it was damaged, or is not of flowzoo."
            )
    return Record(**{key: value for key, value in contents.items() if key in _FIELDS})


def read_workdir(workdir: epath.PathLike) -> Record:
    """The record of a finished run.

    Raises:
      FileNotFoundError: if the folder has no results.
      ValueError: if they or the config are damaged.
    """
    workdir = epath.Path(workdir)
    if not (path := workdir / RESULTS).exists():
        raise FileNotFoundError(
            f"{workdir} has no {RESULTS}: the run is not finished; its command goes on with it."
        )
    contents = read_json(path)
    if isinstance(contents, dict):
        if (workdir / CONFIG).exists():
            contents = contents | {"config": read_json(workdir / CONFIG)}
        if metrics := read_metrics(workdir):
            contents = contents | {"learning_curve": _curve(metrics)}
    return from_json(contents, str(path))


def _curve(metrics: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    # The last evaluation is always among those that are kept.
    every = -(-len(metrics) // CURVE_POINTS)
    kept = metrics[::-1][::every][::-1]
    columns = ("epoch", "train_nats", "validation_nats")
    return {key: [round(metric[key], 3) for metric in kept] for key in columns}


def collect(folders: Sequence[epath.PathLike]) -> list[Record]:
    """The finished runs in some folders, however deep: of a sweep the winner.

    Raises:
      FileNotFoundError: if one of the folders does not exist, or holds no finished run.
      ValueError: if a file is damaged.
    """
    records = {}
    for folder in map(epath.Path, folders):
        found = list(_workdirs(folder)) if folder.is_dir() else []
        if not found:
            raise FileNotFoundError(
                f"No finished run in {folder}: expected a folder that `python -m flowzoo.train` "
                f"wrote, with a {RESULTS}, or one with such folders in it."
            )
        records |= {str(workdir): read_workdir(workdir) for workdir in found}
    return [records[key] for key in sorted(records)]


def _workdirs(folder: epath.Path) -> Iterator[epath.Path]:
    if (folder / BEST).exists():
        winner = read_json(folder / BEST)
        if not isinstance(winner, dict) or "run" not in winner:
            raise ValueError(f"{folder / BEST} names no run; it was damaged.")
        yield folder / winner["run"]
    elif (folder / CONFIG).exists():
        if (folder / RESULTS).exists():
            yield folder
    else:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir():
                yield from _workdirs(inner)


def read_records(folder: pathlib.Path) -> list[Record]:
    """The records of runs in a folder such as `results/`; those of studies, `studies/`, are other.

    Raises:
      ValueError: if one is damaged, or lies in another file than its name says.
    """
    records = []
    for path in sorted(folder.rglob("*.json")):
        if path.parent == folder / "studies":
            continue
        record = from_json(read_json(epath.Path(path)), str(path))
        if path != _place(record, folder):
            raise ValueError(f"{path} is the record of {record.name}, expected in that file.")
        records.append(record)
    return records


def write_record(record: Record, folder: pathlib.Path) -> pathlib.Path:
    """Writes `folder/NAME.json`, in the place of an earlier record of that name."""
    path = _place(record, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = dataclasses.asdict(record)
    if record.config is not None:
        # A path of the machine that trained the model is of no use elsewhere.
        dataset = record.config["dataset"] | {"data_dir": ""}
        contents["config"] = record.config | {"dataset": dataset}
    write_json(epath.Path(path), json.loads(json.dumps(contents)))
    return path


def _place(record: Record, folder: pathlib.Path) -> pathlib.Path:
    return folder / f"{record.name}.json"
