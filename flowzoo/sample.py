"""Draws from a trained model: `python -m flowzoo.sample --workdir=WORKDIR`."""

import pathlib

from absl import flags

from flowzoo import command_line

EXAMPLE = "python -m flowzoo.sample --workdir=runs/digits/learned --num_samples=100"

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder that `python -m flowzoo.train` wrote.")
_PRETRAINED = flags.DEFINE_string("pretrained", None, "Or the name or path of a pretrained model.")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where the data lie, if elsewhere by now.")
_NUM_SAMPLES = flags.DEFINE_integer("num_samples", 100, "How many samples to draw.", lower_bound=1)
_LABEL = flags.DEFINE_integer("label", None, "The class to draw, of a class-conditional model.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the draw.", lower_bound=0, upper_bound=2**32 - 1)
_NOISE_STD = flags.DEFINE_float(
    "noise_std", 0.0, "Takes noise of this size out, the run's config.noise_std.", lower_bound=0
)
_GUIDANCE = flags.DEFINE_float(
    "guidance", None, "Strengthens the label, of a model with config.label_dropout."
)
_OUT = flags.DEFINE_string("out", "samples", "Writes OUT.npy (raw data) and OUT.png.")


def main(argv: list[str]) -> None:
    del argv
    command_line.require_one({"workdir": _WORKDIR.value, "pretrained": _PRETRAINED.value}, EXAMPLE)
    if not _OUT.value:
        raise ValueError("--out is empty, expected a path, to which .npy and .png are added.")

    from flowzoo.pretrained import load_pretrained
    from flowzoo.raw_flow import RawFlow, on_raw_data
    from flowzoo.reporting import plots
    from flowzoo.reporting.drawing import write_samples
    from flowzoo.transforms import guided

    dataset = None
    if _WORKDIR.value:
        from flowzoo.training.devices import enable_compilation_cache
        from flowzoo.training.load import load_run

        enable_compilation_cache()
        flow, dataset, _ = load_run(_WORKDIR.value, data_dir=_DATA_DIR.value)
        model = on_raw_data(flow, dataset)
    else:
        model = load_pretrained(_PRETRAINED.value)
        if not isinstance(model, RawFlow):
            raise ValueError(f"{_PRETRAINED.value} holds a flow without the data's preprocessing.")
    if model.context is not None and _LABEL.value is None:
        raise ValueError(
            f"This model is class-conditional; pass --label=0 … {model.context.size - 1}."
        )
    if model.context is None and _LABEL.value is not None:
        raise ValueError("This model is unconditional; leave --label out.")
    if _GUIDANCE.value is not None:
        model = guided(model, _GUIDANCE.value)
    out = pathlib.Path(_OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.parent / f"{out.name}.npy"
    x = write_samples(
        model,
        path,
        _NUM_SAMPLES.value,
        seed=_SEED.value,
        label=_LABEL.value,
        noise_std=_NOISE_STD.value,
    )
    figure = plots.draws(x, dataset) if dataset else plots.draws_alone(x, model)
    plots.save(figure, out.parent / f"{out.name}.png")
    print(f"{len(x)} samples of shape {x.shape[1:]} in {out}.npy, drawn in {out}.png")


if __name__ == "__main__":
    command_line.run(main)
