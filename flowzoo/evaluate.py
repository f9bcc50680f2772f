"""Tests a trained model: `python -m flowzoo.evaluate --workdir=runs/digits-relative_gradient`."""

from absl import flags

from flowzoo import command_line

EXAMPLE = "python -m flowzoo.evaluate --workdir=runs/digits-relative_gradient"

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that `python -m flowzoo.train` wrote.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data lie, if elsewhere by now.")


def main(argv: list[str]) -> None:
    del argv
    command_line.require("workdir", _WORKDIR.value, EXAMPLE)

    from flowzoo.training.devices import enable_compilation_cache
    from flowzoo.training.load import load_run
    from flowzoo.training.results import comparison, describe, test_results

    enable_compilation_cache()
    flow, dataset, config = load_run(_WORKDIR.value, data_dir=_DATA_DIR.value)
    results = {
        "dataset": dataset.name,
        "model": config.model.name,
        **test_results(flow, dataset),
        "published": comparison(dataset, config),
    }
    print(describe(results))


if __name__ == "__main__":
    command_line.run(main)
