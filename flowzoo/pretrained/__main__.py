"""Lists, shows and makes pretrained models: `python -m flowzoo.pretrained list`."""

from absl import flags

from flowzoo import command_line

USAGE = """python -m flowzoo.pretrained list
python -m flowzoo.pretrained show NAME
python -m flowzoo.pretrained safetensors NAME FILE.safetensors
python -m flowzoo.pretrained export WORKDIR DIRECTORY [--command="python -m flowzoo.train …"]

NAME is a packaged name, or the path or address of a model. DIRECTORY ends in the new name."""

_BASE = flags.DEFINE_string("base", None, "URL or bucket that names are looked for in.")
_COMMAND = flags.DEFINE_string(
    "command", None, "export: the command that trained it, if the run does not say."
)
_COMMIT = flags.DEFINE_string(
    "commit", None, "export: the commit that trained it; the run's if left out."
)
_HARDWARE = flags.DEFINE_string("hardware", None, "export: what trained it; the run's if left out.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "export: where the data lie, if elsewhere by now."
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16", "float16"],
    "export: what trained matrices are stored as; the card's numbers are those of the stored ones.",
)


def main(argv: list[str]) -> None:
    match argv[1:]:
        case ["list"]:
            print_list()
        case ["show", name]:
            from flowzoo.pretrained import show_pretrained
            from flowzoo.pretrained.card import markdown

            print(markdown(show_pretrained(name, base=_BASE.value)), end="")
        case ["safetensors", name, path]:
            from flowzoo.pretrained import load_pretrained, save

            save(load_pretrained(name, base=_BASE.value), path)
            print(f"{name} in {path}")
        case ["export", workdir, directory]:
            export(workdir, directory)
        case _:
            command_line.fail("Expected list, show, safetensors or export. Usage:\n" + USAGE)


def print_list() -> None:
    """Prints a table of the packaged models."""
    from flowzoo.pretrained import list_pretrained

    row = "{:28} {:18} {:18} {:>10} {:>6}  {:20} {}"
    print(
        row.format("name", "dataset", "model", "parameters", "MB", "test nats ± 2 s.e.", "bits/dim")
    )
    for entry in list_pretrained():
        print(
            row.format(
                entry.name,
                entry.dataset,
                entry.model,
                f"{entry.num_parameters:,}",
                f"{entry.megabytes:.2f}",
                f"{entry.log_likelihood_nats:.3f} ± {entry.two_standard_errors:.3f}",
                "" if entry.bits_per_dim is None else f"{entry.bits_per_dim:.3f}",
            )
        )


def export(workdir: str, directory: str) -> None:
    """Makes a pretrained model of a run."""
    from flowzoo.pretrained.card import markdown
    from flowzoo.pretrained.export import export
    from flowzoo.pretrained.files import read_card

    made = export(
        workdir,
        directory,
        command=_COMMAND.value,
        commit=_COMMIT.value,
        hardware=_HARDWARE.value,
        dtype=_DTYPE.value,
        data_dir=_DATA_DIR.value,
    )
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    print(markdown(read_card(made)), end="")
    print(f"\n{size / 1e6:.2f} MB in {made}")


if __name__ == "__main__":
    command_line.run(main, positional=True)
