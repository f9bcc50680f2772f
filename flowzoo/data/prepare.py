"""Prepares a dataset: `python -m flowzoo.data.prepare bsds300`."""

import argparse
import sys

from flowzoo.data import load_dataset
from flowzoo.data.images import IMAGE_SETS
from flowzoo.data.tabular import TABULAR_SETS, prepare_tabular


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m flowzoo.data.prepare", description=__doc__)
    parser.add_argument("name", choices=[*TABULAR_SETS, *IMAGE_SETS])
    parser.add_argument("--data_dir", help="TFDS data folder to write into")
    parser.add_argument("--from", dest="source", help="folder or file that holds the originals")
    arguments = parser.parse_args()
    try:
        if arguments.name in TABULAR_SETS:
            prepare_tabular(arguments.name, data_dir=arguments.data_dir, source=arguments.source)
        dataset = load_dataset(arguments.name, data_dir=arguments.data_dir)
    except (ValueError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    sizes = " / ".join(f"{len(dataset.split(s)):,}" for s in ("train", "validation", "test"))
    print(f"{dataset.name}: {sizes} rows of {dataset.raw_shape[0]} numbers")


if __name__ == "__main__":
    main()
