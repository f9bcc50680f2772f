"""One table of all runs beside the published results: `python -m flowzoo.report runs/`.

The folders are workdirs, or hold workdirs; of a sweep the winner is taken. The table is printed and
written as `report.md` and `report.png` into the first folder.
"""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from absl import flags

from flowzoo import command_line
from flowzoo.reporting.published import Published, published, published_later, published_model
from flowzoo.reporting.tables import duration, markdown, plus_minus

_OUT = flags.DEFINE_string("out", None, "Path of the tables without its ending; <folder>/report.")

HEADER = ("model", "ours", "published", "parameters", "epochs", "time", "hardware", "command")


@dataclasses.dataclass(frozen=True)
class Run:
    """What `results.json` and `config.json` of a workdir hold."""

    workdir: str
    results: dict[str, Any]
    config: dict[str, Any]

    @property
    def data(self) -> tuple[str, bool]:
        """Name of the dataset, and whether the model is conditioned on its labels."""
        return self.results["dataset"], self.results["conditional"]

    @property
    def title(self) -> str | None:
        """The model as the published tables call it, None if they have not this model."""
        return published_model(self.config["model"])

    @property
    def name(self) -> str:
        """The model in words."""
        return self.config["title"]


def collect(folders: Sequence[str]) -> list[Run]:
    """The finished runs in some folders: they, their subfolders, and the winners of sweeps there.

    Raises:
      FileNotFoundError: if there is none.
    """
    from etils import epath

    from flowzoo.training.workdir import BEST, CONFIG, RESULTS, read_json

    paths = []
    for folder in map(epath.Path, folders):
        levels = ("", "*/", "*/*/")
        paths += [path for level in levels for path in folder.glob(f"{level}{RESULTS}")]
        sweeps = [path for level in levels for path in folder.glob(f"{level}{BEST}")]
        searched = {path.parent for path in sweeps}
        paths = [path for path in paths if path.parent.parent not in searched]
        paths += [path.parent / read_json(path)["run"] / RESULTS for path in sweeps]
    paths = sorted(set(paths))
    runs = [
        Run(str(path.parent), read_json(path), read_json(path.parent / CONFIG)) for path in paths
    ]
    if not runs:
        raise FileNotFoundError(
            f"No finished run in {', '.join(folders)}: expected folders with a {RESULTS} that "
            "`python -m flowzoo.train` wrote."
        )
    return runs


def tables(runs: Sequence[Run]) -> dict[str, list[list[str | None]]]:
    """For each dataset the rows under `HEADER`: our runs and published results, best first."""
    found = {}
    for name, conditional in sorted({run.data for run in runs}):
        title = f"{name}, conditional on labels" if conditional else name
        ours = [run for run in runs if run.data == (name, conditional)]
        rows = {row.model: row for row in published(name, conditional)}
        lines = [(_nats(run), _row(run, rows.get(run.title))) for run in ours]
        compared = {run.title for run in ours if not run.config["dataset"]["limit"]}
        for row in rows.values():
            if row.model not in compared:
                cells = [row.model, None, _published(row)]
                lines.append((row.nats, cells + [None] * (len(HEADER) - len(cells))))
        if not conditional:
            for model, nats, source in published_later(name):
                cells = [model, None, f"{nats:.2f} ({_short(source)})"]
                lines.append((nats, cells + [None] * (len(HEADER) - len(cells))))
        found[title] = [cells for _, cells in sorted(lines, key=lambda line: -line[0])]
    return found


def _nats(run: Run) -> float:
    # A run on a part of the data is put last: it does not compare.
    return -math.inf if run.config["dataset"]["limit"] else run.results["log_likelihood_nats"]


def _row(run: Run, row: Published | None) -> list[str | None]:
    results, limit = run.results, run.config["dataset"]["limit"]
    value = plus_minus(results["log_likelihood_nats"], results["two_standard_errors"])
    value = f"**{value}**"
    if "bits_per_dim" in results:
        value += f" ({results['bits_per_dim']:.3f} bits/dim)"
    if limit:
        value += f", first {limit:,} rows of each split"
    return [
        run.name,
        value,
        _published(row) if row and not limit else None,
        f"{results['num_parameters']:,}",
        f"{results['epochs']} (best {results['best_epoch']})",
        duration(results["wall_seconds"]),
        results["device"],
        f"`{results['command']}`" if results.get("command") else None,
    ]


def _published(row: Published) -> str:
    # As many decimals as printed: floats have lost zeros at the end of one of the two.
    digits = max(len(f"{x:g}".partition(".")[2]) for x in (row.nats, row.two_standard_errors))
    value = f"{row.nats:.{digits}f} ± {row.two_standard_errors:.{digits}f}"
    return f"{value} ({_short(row.source)})"


def _short(source: str) -> str:
    """Authors and year."""
    return source.split(",")[0]


def to_markdown(found: dict[str, list[list[str | None]]]) -> str:
    """The tables as Markdown."""
    note = "Test log-likelihood in nats ± 2 standard errors; published values are marked by source."
    parts = [f"## {title}\n\n{markdown(HEADER, rows)}" for title, rows in found.items()]
    return "\n\n".join([note, *parts]) + "\n"


def draw(found: dict[str, list[list[str | None]]]):
    """The tables as one figure, without the commands."""
    from matplotlib.figure import Figure

    heights = [len(rows) + 3 for rows in found.values()]
    figure = Figure(figsize=(15, 0.27 * sum(heights)))
    panels = figure.subplots(len(found), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, rows) in zip(panels, found.items(), strict=True):
        cells = [[(cell or "").replace("**", "") for cell in row[:-1]] for row in rows]
        axes.axis("off")
        axes.set_title(title, loc="left", fontweight="bold")
        table = axes.table(
            cells, colLabels=HEADER[:-1], cellLoc="left", colLoc="left", loc="upper left"
        )
        table.auto_set_font_size(False)
        table.set_fontsize(9)
        table.auto_set_column_width(range(len(HEADER) - 1))
        for (line, column), cell in table.get_celld().items():
            cell.visible_edges = "B"
            cell.set(linewidth=0.5, edgecolor="lightgray")
            cell.PAD = 0.02
            if line == 0 or (column == 1 and cells[line - 1][1]):
                cell.set_text_props(fontweight="bold")
    return figure


def main(argv: list[str]) -> None:
    """Prints and writes the tables of the folders in `argv[1:]`, by default `runs`."""
    from etils import epath

    folders = argv[1:] or ["runs"]
    found = tables(collect(folders))
    text = to_markdown(found)
    out = epath.Path(_OUT.value or epath.Path(folders[0]) / "report")
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / f"{out.name}.md").write_text(text)
    with (out.parent / f"{out.name}.png").open("wb") as file:
        draw(found).savefig(file, format="png", dpi=120, bbox_inches="tight")
    print(f"{text}\nin {out}.md and {out}.png")


if __name__ == "__main__":
    command_line.run(main, positional=True)
