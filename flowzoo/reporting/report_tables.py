"""Our results beside the published ones: a table for each dataset, and the README's."""

from collections.abc import Sequence
import math

from flowzoo.reporting.published import entry_of, figure, published, published_for
from flowzoo.reporting.records import Record
from flowzoo.reporting.tables import duration, markdown, plus_minus

Tables = dict[str, list[list[str | None]]]
HEADER = ("model", "ours", "published", "parameters", "epochs", "time", "hardware", "command")

# Of the README's table.
README_DATASETS = {"bsds300": "BSDS300", "mnist": "MNIST"}
README_ENTRIES = (
    "gaussian",
    "made_mog",
    "real_nvp5",
    "maf5",
    "maf_mog5",
    "real_nvp_image",
    "tarflow",
    "glow",
    "parallel_multiscale",
    "paper",
    "whitened",
    "learned",
    "divisive",
    "unfolded",
)


def tables(records: Sequence[Record]) -> Tables:
    """For each dataset the rows under `HEADER`: our runs and published results, best first.

    Datasets of one family (`toy/…`) share a table, by name.
    """
    found = {}
    for family, conditional in sorted({(_family(r), r.conditional) for r in records}):
        ours = [r for r in records if (_family(r), r.conditional) == (family, conditional)]
        lines = [((r.dataset, _nats(r)), _row(r)) for r in ours]
        # A run on a part of the data does not compare.
        compared = {entry_of(record.name) for record in ours if not record.limit}
        for row in published(family, conditional):
            if not compared & set(row.entries):
                cells = [row.model, None, figure(row)]
                lines.append(((family, row.nats), cells + [None] * (len(HEADER) - len(cells))))
        found[_title(family, conditional, ours)] = [
            cells for _, cells in sorted(lines, key=lambda line: (line[0][0], -line[0][1]))
        ]
    return found


def _family(record: Record) -> str:
    return record.dataset.split("/")[0]


def _title(dataset: str, conditional: bool, records: Sequence[Record]) -> str:
    notes = dict.fromkeys(record.data_note for record in records if record.data_note)
    title = f"{dataset}, conditional on labels" if conditional else dataset
    return f"{title} ({'; '.join(notes)})" if notes else title


def _nats(record: Record) -> float:
    # A run on a part of the data is put last.
    return -math.inf if record.limit else record.log_likelihood_nats


def _row(record: Record) -> list[str | None]:
    value = f"**{plus_minus(record.log_likelihood_nats, record.two_standard_errors)}**"
    if record.bits_per_dim is not None:
        value += f" ({record.bits_per_dim:.3f} bits/dim)"
    if record.mcc is not None:
        value += f" (MCC {record.mcc:.4f})"
    if record.limit:
        value += f", first {record.limit:,} rows of each split"
    row = published_for(record.name, record.dataset, record.conditional)
    best = "" if record.best_epoch is None else f" (best {record.best_epoch})"
    which = record.dataset.partition("/")[2]
    return [
        f"{which}: {record.title}" if which else record.title,
        value,
        figure(row) if row and not record.limit else None,
        None if record.num_parameters is None else f"{record.num_parameters:,}",
        None if record.epochs is None else f"{record.epochs}{best}",
        _time(record),
        record.device,
        f"`{record.command}`" if record.command else None,
    ]


def _time(record: Record) -> str | None:
    if record.wall_seconds is None:
        return None
    on_the_wall = duration(record.wall_seconds)
    # Beside an accelerator the processor only waits.
    if record.processor_seconds is None or not (record.device or "").startswith("CPU"):
        return on_the_wall
    return f"{on_the_wall} ({duration(record.processor_seconds)} of cores)"


def to_markdown(found: Tables) -> str:
    """The tables as Markdown."""
    note = "Test log-likelihood in nats ± 2 standard errors; published values are marked by source."
    parts = [f"## {title}\n\n{markdown(HEADER, rows)}" for title, rows in found.items()]
    return "\n\n".join([note, *parts]) + "\n"


def readme_table(records: Sequence[Record]) -> str:
    """One row for each of `README_ENTRIES`: its best unconditional run and the published figure.

    The standard errors are left to the tables of `tables`.
    """
    header, rows, notes = ["model"], [], {}
    for dataset, title in README_DATASETS.items():
        notes |= {r.dataset: r.data_note for r in records if r.dataset == dataset and r.data_note}
        header += [f"{title}{' *' if dataset in notes else ''}", "published"]
    for entry in README_ENTRIES:
        title, cells = None, []
        for dataset in README_DATASETS:
            # The config as it is, in its short form if there is no other.
            names = (f"{dataset}/{entry}", f"{dataset}/{entry}-short")
            ours = max((r for r in records if r.name in names), key=_nats, default=None)
            row = published_for(f"{dataset}/{entry}", dataset)
            title = title or (ours and ours.title)
            cells += [ours and f"{ours.log_likelihood_nats:.1f}", row and f"{row.nats:.1f}"]
        if title is not None:
            rows.append([title, *cells])
    legend = [f"\\* {README_DATASETS[dataset]}: {note}." for dataset, note in notes.items()]
    return "\n\n".join([markdown(header, rows), *legend])


def draw(found: Tables):
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
