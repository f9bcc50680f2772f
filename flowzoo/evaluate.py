"""Tests a trained model: `python -m flowzoo.evaluate --workdir=runs/digits/learned`."""

from absl import flags

from flowzoo import command_line

EXAMPLE = "python -m flowzoo.evaluate --workdir=runs/digits/learned"

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that `python -m flowzoo.train` wrote.")
_PRETRAINED = flags.DEFINE_string("pretrained", None, "Or the name or path of a pretrained model.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data lie, if elsewhere by now.")


def main(argv: list[str]) -> None:
    del argv
    command_line.require_one({"workdir": _WORKDIR.value, "pretrained": _PRETRAINED.value}, EXAMPLE)

    from flowzoo.pretrained.runs import load_pretrained_run
    from flowzoo.reporting.results import describe, identity
    from flowzoo.training.devices import enable_compilation_cache
    from flowzoo.training.evaluation import test_results
    from flowzoo.training.load import load_run

    enable_compilation_cache()
    load = load_run if _WORKDIR.value else load_pretrained_run
    flow, dataset, config = load(_WORKDIR.value or _PRETRAINED.value, data_dir=_DATA_DIR.value)
    print(describe(identity(dataset, config) | test_results(flow, dataset)))


if __name__ == "__main__":
    command_line.run(main)
