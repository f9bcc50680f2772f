"""Tables of finished runs beside the published results: `python -m flowzoo.report runs/`.

The folders are workdirs, or hold workdirs, however deep; of a sweep the winner is taken. The tables
are printed and written as `report.md` and `report.png` into the first folder. In a checkout,
`--record` adds runs to the records in `results/`, and `--write` makes the tables of docs/results.md
and README.md of these records:

    python -m flowzoo.report --record runs/mnist/maf5-short
    python -m flowzoo.report --write
"""

import pathlib

from absl import flags

from flowzoo import command_line

_OUT = flags.DEFINE_string("out", None, "Path of the tables without its ending; <folder>/report.")
_RECORD = flags.DEFINE_bool("record", False, "Write a record of each run into results/ instead.")
_WRITE = flags.DEFINE_bool("write", False, "Make the tables of the pages of results/.")


def main(argv: list[str]) -> None:
    """Reports on the folders in `argv[1:]`, by default `runs`."""
    if _RECORD.value or _WRITE.value:
        if _RECORD.value:
            command_line.require("record", argv[1:] or None, "--record runs/mnist/maf5-short")
            record(argv[1:])
        if _WRITE.value:
            from flowzoo.reporting import pages

            changed = pages.write(pathlib.Path())
            print("\n".join(f"{path} written" for path in changed) or "Nothing has changed.")
        return

    from etils import epath

    from flowzoo.reporting.records import collect
    from flowzoo.reporting.report_tables import draw, tables, to_markdown

    folders = argv[1:] or ["runs"]
    if _OUT.value == "":
        raise ValueError("--out is empty, expected a path, to which .md and .png are added.")
    found = tables(collect(folders))
    text = to_markdown(found)
    out = epath.Path(_OUT.value or epath.Path(folders[0]) / "report")
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / f"{out.name}.md").write_text(text)
    with (out.parent / f"{out.name}.png").open("wb") as file:
        draw(found).savefig(file, format="png", dpi=120, bbox_inches="tight")
    print(f"{text}\nin {out}.md and {out}.png")


def record(folders: list[str]) -> None:
    """Writes a record of each finished run in some folders."""
    from flowzoo.reporting import pages
    from flowzoo.reporting.records import collect, write_record

    for run in collect(folders):
        if not run.name:
            raise ValueError(
                f"The run of {run.title or run.dataset} has no name; give its config one, such as "
                "--config.name=mnist/mine."
            )
        print(f"{write_record(run, pathlib.Path(pages.FOLDER))} written")


if __name__ == "__main__":
    command_line.run(main, positional=True)
