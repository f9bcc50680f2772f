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

    import jax
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

    for name, number in diagnostics.condition_numbers(flow).items():
        print(f"condition number of {name}: {number:.4g}")
    precision = diagnostics.compare_precisions(flow, x, labels)
    print(
        f"mean log-likelihood of {len(x)} test events: {precision.float32:.4f} nats in float32, "
        f"{precision.float64:.4f} in float64; one event differs by at most "
        f"{precision.largest_difference:.2g}"
    )
    few = x[:100], labels if labels is None else labels[:100]
    values = diagnostics.jacobian_singular_values(flow, few[0], jax.random.key(0), context=few[1])
    print(
        f"Jacobian at {len(few[0])} test events: singular values from "
        f"{np.median(values.smallest):.3g} to {np.median(values.largest):.3g}, condition number "
        f"{np.median(values.condition):.3g} (medians), at most {values.condition.max():.3g}"
    )


if __name__ == "__main__":
    command_line.run(main)
