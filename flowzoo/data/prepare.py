"""Prepares a dataset: `python -m flowzoo.data.prepare power`."""

import argparse
import sys

from flowzoo.data import load_dataset
from flowzoo.data.images import IMAGE_SETS
from flowzoo.data.tabular import TABULAR_SETS, prepare_tabular


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        fail(message)


def fail(message: str) -> None:
    """Prints one line to stderr and exits with code 1."""
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(1)


def main(arguments: list[str] | None = None) -> None:
    """Prepares the dataset that the command line names and prints its sizes."""
    parser = _Parser(prog="python -m flowzoo.data.prepare", description=__doc__)
    parser.add_argument("name", choices=[*TABULAR_SETS, *IMAGE_SETS])
    parser.add_argument("--data_dir", help="TFDS folder to write into and to look for files in")
    parser.add_argument(
        "--from", dest="source", help="folder or file with the originals of a tabular set"
    )
    given = parser.parse_args(arguments)
    if given.source is not None and given.name in IMAGE_SETS:
        fail(
            f"--from is for tabular sets: name the folder with the files of {given.name} "
            "--data_dir."
        )
    try:
        if given.name in TABULAR_SETS:
            folder = prepare_tabular(given.name, data_dir=given.data_dir, source=given.source)
            print(f"{given.name} is in {folder}")
        dataset = load_dataset(given.name, data_dir=given.data_dir)
    except (ValueError, OSError) as error:
        fail(str(error))
    sizes = " / ".join(f"{len(dataset.split(s)):,}" for s in ("train", "validation", "test"))
    print(f"{dataset.name}: {sizes} rows of {dataset.raw_shape[0]} numbers")


if __name__ == "__main__":
    main()
