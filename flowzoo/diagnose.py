"""Reports a trained flow's conditioning: `python -m flowzoo.diagnose --workdir=DIR`."""

from absl import flags

from flowzoo import command_line

EXAMPLE = "python -m flowzoo.diagnose --workdir=runs/digits/learned"

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that `python -m flowzoo.train` wrote.")
_PRETRAINED = flags.DEFINE_string("pretrained", None, "Or the name or path of a pretrained model.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data lie, if elsewhere by now.")
_NUM_EVENTS = flags.DEFINE_integer("num_events", 1000, "Test events to use.", lower_bound=1)


def main(argv: list[str]) -> None:
    del argv
    command_line.require_one({"workdir": _WORKDIR.value, "pretrained": _PRETRAINED.value}, EXAMPLE)

    import numpy as np

    from flowzoo.pretrained.runs import load_pretrained_run
    from flowzoo.reporting import diagnostics
    from flowzoo.training.devices import enable_compilation_cache
    from flowzoo.training.evaluation import evaluation_key
    from flowzoo.training.load import load_run

    enable_compilation_cache()
    load = load_run if _WORKDIR.value else load_pretrained_run
    flow, dataset, _ = load(_WORKDIR.value or _PRETRAINED.value, data_dir=_DATA_DIR.value)
    x = np.asarray(dataset.model_space("test", evaluation_key("test")))[: _NUM_EVENTS.value]
    labels = None if flow.context is None else dataset.test.labels[: len(x)]
    for line in diagnostics.report(flow, x, labels):
        print(line, flush=True)


if __name__ == "__main__":
    command_line.run(main)
