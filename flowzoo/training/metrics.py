"""What a run writes while it goes: `metrics.jsonl`, TensorBoard events, a progress bar."""

import json
import sys
import time

from etils import epath
import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter
from tqdm import tqdm

from flowzoo.training.workdir import METRICS

Record = dict[str, float]
# What every record has.
KEYS = ("step", "epoch", "train_nats", "validation_nats", "best_validation_nats", "seconds")


class MetricsWriter:
    """Appends records to `metrics.jsonl` and to TensorBoard events.

    Args:
      workdir: the run's folder.
      step: where the run goes on; records of later steps, which a killed run may have left, are
        dropped.

    Attributes:
      seconds: how long the run had taken at the last record kept.
    """

    def __init__(self, workdir: epath.Path, step: int):
        self.path = workdir / METRICS
        kept = [record for record in read_metrics(workdir) if record["step"] <= step]
        last = kept[-1] if kept else {}
        # Of the run so far.
        self.seconds = last.get("seconds", 0.0)
        self.processor_seconds = last.get("processor_seconds", 0.0)
        self.path.write_text("".join(json.dumps(record) + "\n" for record in kept))
        self.events = SummaryWriter(str(workdir), purge_step=step + 1)

    def write(self, record: Record) -> None:
        """Adds the record of one evaluation; its `step` is the x axis of every curve."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name != "step":
                self.events.add_scalar(name, value, record["step"])
        self.events.flush()

    def close(self) -> None:
        """Finishes the event file."""
        self.events.close()


def add_picture(workdir: epath.Path, name: str, step: int) -> None:
    """Shows `NAME.png` of a workdir in TensorBoard, in an event file of its own."""
    with (workdir / f"{name}.png").open("rb") as file:
        pixels = np.asarray(Image.open(file).convert("RGB"))
    with SummaryWriter(str(workdir), filename_suffix=f".{name}") as events:
        events.add_image(name, pixels, step, dataformats="HWC")


def read_metrics(workdir: epath.PathLike) -> list[Record]:
    """The records of a run so far; a last line that was cut off is left out.

    Raises:
      ValueError: if another line is damaged.
    """
    path = epath.Path(workdir) / METRICS
    lines = path.read_bytes().decode(errors="replace").splitlines() if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, dict) and all(
            isinstance(record.get(key), int | float) for key in KEYS
        ):
            records.append(record)
        elif number < len(lines):
            raise ValueError(
                f"{path} is damaged in line {number}; delete the file to go on without the curves "
                "up to here."
            )
    return records


class Progress:
    """A progress bar on a terminal; elsewhere a line now and then.

    Args:
      num_steps, num_epochs: of the whole run.
      step: where it starts.
      visible: whether this process shows anything.
    """

    SECONDS_BETWEEN_LINES = 5.0

    def __init__(self, num_steps: int, num_epochs: int, step: int, visible: bool):
        self.num_epochs = num_epochs
        self.visible = visible
        self.start = self.last_line = time.monotonic()
        self.first_step, self.num_steps = step, num_steps
        self.bar = None
        if visible and sys.stderr.isatty():
            self.bar = tqdm(total=num_steps, initial=step, unit="step", dynamic_ncols=True)

    def advance(self, step: int, epoch: int) -> None:
        """Moves on to `step`, in the 0-based `epoch`."""
        if self.bar is not None:
            self.bar.set_description(f"epoch {epoch + 1}/{self.num_epochs}")
            self.bar.update(step - self.bar.n)

    def report(self, record: Record) -> None:
        """Shows the record of an evaluation."""
        train, validation = record["train_nats"], record["validation_nats"]
        if self.bar is not None:
            self.bar.set_postfix_str(f"train {train:.2f} validation {validation:.2f} nats")
        elif self.visible:
            now = time.monotonic()
            if now - self.last_line >= self.SECONDS_BETWEEN_LINES or record["epoch"] == 1:
                self.last_line = now
                rate = (record["step"] - self.first_step) / max(now - self.start, 1e-9)
                left = (self.num_steps - record["step"]) / max(rate, 1e-9)
                print(
                    f"epoch {record['epoch']:.0f}/{self.num_epochs}  train {train:.3f}  "
                    f"validation {validation:.3f} nats  at most {left:.0f} s left",
                    file=sys.stderr,
                    flush=True,
                )

    def close(self) -> None:
        """Ends the bar."""
        if self.bar is not None:
            self.bar.close()
