"""Searches options: `python -m flowzoo.sweep --config=FILE --sweep.learning_rate=1e-4,1e-3 …`.

Every combination is a run in a folder of its own; the one with the best validation likelihood wins.
`--sweep=paper` adds the options of the relative-gradient paper. `--baselines=made,maf5` then trains
those models of the config file with as many parameters as the winner, once with one hidden layer
and once with two. The same command goes on where it stopped.
"""

import os
import sys

from absl import flags

from flowzoo import command_line

EXAMPLE = (
    "python -m flowzoo.sweep --config=configs/digits.py --sweep.learning_rate=1e-3,1e-2 "
    "--sweep.num_layers=2,5"
)
SUMMARY = "sweep.md"

_CONFIG = command_line.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of all runs; by default runs/<config.name>-sweep."
)
_BASELINES = flags.DEFINE_list(
    "baselines", [], "Models of the config file to train with as many parameters as the winner."
)


def take_sweep(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Splits `--sweep=GRID` and `--sweep.KEY=VALUES` off the arguments of the command line."""
    rest, keys = command_line.take("sweep", arguments)
    grids = [argument for argument in rest if argument.lstrip("-").startswith("sweep=")]
    swept = dict(argument.lstrip("-").split("=", 1) for argument in grids)
    swept |= {f"sweep.{key}": text or "" for key, text in keys.items()}
    return [argument for argument in rest if argument not in grids], swept


def make_grid(swept: dict[str, str]) -> dict[str, list]:
    """The values of each key from the arguments that `take_sweep` found.

    Raises:
      ValueError: if a ready grid is unknown, or nothing is swept.
    """
    from flowzoo.training.grid import GRIDS, parse_values

    grid = {}
    if "sweep" in swept:
        if swept["sweep"] not in GRIDS:
            raise ValueError(f"--sweep is {swept['sweep']!r}, expected one of {', '.join(GRIDS)}.")
        grid |= GRIDS[swept["sweep"]]
    keys = {name.removeprefix("sweep."): text for name, text in swept.items() if name != "sweep"}
    grid |= {key: parse_values(text) for key, text in keys.items()}
    if not grid:
        raise ValueError(f"Nothing is swept. Example: {EXAMPLE}")
    return grid


def run_all(configs: dict, workdir: str) -> dict[str, dict]:
    """Trains each config in `workdir/<label>`, unless that is done; returns the results by label.

    A run that diverged is left out, and not tried again.
    """
    from etils import epath

    from flowzoo.pretrained.start import starting_flow
    from flowzoo.reporting.results import train_and_evaluate
    from flowzoo.training.loop import load_data, resolved
    from flowzoo.training.workdir import FAILURE, RESULTS, claim, read_json, write_json

    found = {}
    for i, (label, config) in enumerate(configs.items(), start=1):
        folder = epath.Path(workdir) / label
        if config.num_parameters:
            config = resolved(config, load_data(config))
        claim(folder, config)
        outcome = "done before"
        if not (folder / RESULTS).exists() and not (folder / FAILURE).exists():
            outcome = "done"
            try:
                train_and_evaluate(config, folder, start=starting_flow(config, folder))
            except FloatingPointError as error:
                write_json(folder / FAILURE, {"error": str(error)})
        if (folder / FAILURE).exists():
            print(f"{i}/{len(configs)} {label}: {read_json(folder / FAILURE)['error']}", flush=True)
            continue
        found[label] = read_json(folder / RESULTS)
        value = found[label]["validation_nats"]
        print(f"{i}/{len(configs)} {label}: {outcome}, validation {value:.3f} nats", flush=True)
    return found


def best_first(results: dict[str, dict]) -> list[tuple[str, dict]]:
    """Labels and results, the best validation likelihood first."""
    return sorted(results.items(), key=lambda item: -item[1]["validation_nats"])


def summary(results: dict[str, dict], num_configs: int) -> str:
    """A Markdown table of the runs, the best by validation first and bold."""
    from flowzoo.reporting.tables import duration, markdown, plus_minus

    rows = []
    for i, (label, result) in enumerate(best_first(results)):
        test = plus_minus(result["log_likelihood_nats"], result["two_standard_errors"])
        cells = [
            label.replace(",", ", "),
            f"{result['validation_nats']:.3f}",
            test,
            f"{result['num_parameters']:,}",
            f"{result['best_epoch']} of {result['epochs']}",
            duration(result["wall_seconds"]),
        ]
        rows.append([f"**{cell}**" for cell in cells] if i == 0 else cells)
    header = ["run", "validation nats", "test nats (± 2 s.e.)", "parameters", "best epoch", "time"]
    failed = num_configs - len(results)
    note = f"\n\n{failed} of {num_configs} runs diverged." if failed else ""
    return markdown(header, rows) + note


def matched_baselines(filename: str, models: list[str], config, num_parameters: int) -> dict:
    """Configs of baselines with one and with two hidden layers and that many parameters.

    Args:
      filename: of the config file, with its argument, whose flags hold for the baselines too.
      models: which of its models.
      config: whose options of the dataset they take.
      num_parameters: of the winner.

    Raises:
      ValueError: if a model is unknown or has no hidden layers.
    """
    from flowzoo.training.config import changed
    from flowzoo.training.config_file import read_config

    path, _, argument = filename.partition(":")
    words = [word for word in argument.split(",") if word in ("conditional", "smoke")]
    configs = {}
    for model in models:
        for depth in (1, 2):
            baseline = read_config(f"{path}:{','.join([model, *words])}")
            if "hidden_sizes" not in baseline.model:
                raise ValueError(
                    f"--baselines names {model}, whose config has no hidden_sizes to choose."
                )
            configs[f"{model},hidden_layers={depth}"] = changed(
                baseline,
                dataset=config.dataset.to_dict(),
                num_parameters=num_parameters,
                model=dict(hidden_sizes=(1,) * depth),
            )
    return configs


def main(swept: dict[str, str]) -> None:
    """Runs the grid, then the baselines, and prints and writes the summary."""
    command_line.require("config", _CONFIG.value, EXAMPLE)
    grid = make_grid(swept)

    from etils import epath

    from flowzoo.training.devices import enable_compilation_cache
    from flowzoo.training.grid import combinations
    from flowzoo.training.workdir import BEST, default_workdir, write_json

    enable_compilation_cache()
    config = command_line.config(_CONFIG.value)
    workdir = _WORKDIR.value or default_workdir(config) + "-sweep"
    configs = combinations(config, grid)
    print(f"{len(configs)} runs in {workdir}", flush=True)
    results = run_all(configs, workdir)
    if not results:
        raise FloatingPointError("Every run diverged: try lower learning rates.")
    text = summary(results, len(configs))
    winner, result = best_first(results)[0]
    text += f"\n\nBest by validation: `{os.path.join(workdir, winner)}`."
    if _BASELINES.value:
        count = result["num_parameters"]
        baselines = matched_baselines(_CONFIG.value, _BASELINES.value, config, count)
        table = summary(run_all(baselines, workdir), len(baselines))
        text += f"\n\nBaselines with about {count:,} parameters:\n\n{table}"
    (epath.Path(workdir) / SUMMARY).write_text(text + "\n")
    write_json(epath.Path(workdir) / BEST, {"run": winner})
    print(f"\n{text}\n\nin {os.path.join(workdir, SUMMARY)}")


if __name__ == "__main__":
    sys.argv, _swept = take_sweep(sys.argv)
    command_line.run(lambda argv: main(_swept))
