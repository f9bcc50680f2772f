"""The folder of one run: whose it is, and the paths inside it."""

import json
import os
from typing import Any

from etils import epath
from ml_collections import config_dict

CONFIG, RESULTS, METRICS = "config.json", "results.json", "metrics.jsonl"
# Of a sweep: the name of its best run.
BEST = "best.json"


def default_workdir(config) -> str:
    """`runs/<dataset>-<model>`, told apart from the other models of a config.

    Of a baseline the number of layers is added and whether its inputs are standardised, of a fully
    connected flow a nonlinearity other than the spline and whether it starts from whitened data.
    """
    model = config.model
    parts = [config.dataset.name.replace("/", "-"), model.name]
    if model.name != "relative_gradient":
        parts[-1] += str(model.get("num_layers", ""))
        parts += ["standardized"] * model.get("standardize", False)
    elif model.activation != "spline":
        parts += [model.activation] + ["whitened"] * model.whiten
    return os.path.join("runs", "-".join(parts + ["conditional"] * config.conditional))


def claim(workdir: epath.Path, config: config_dict.ConfigDict) -> None:
    """Makes the folder this config's, or checks that it is.

    Raises:
      ValueError: if it holds the run of another config; the message names the differing keys.
      OSError: if the folder cannot be made or written.
    """
    ours = flatten(config.to_dict())
    path = workdir / CONFIG
    if path.exists():
        theirs = flatten(read_json(path))
        differing = [
            f"{key} (there {theirs.get(key)!r}, now {ours.get(key)!r})"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ]
        if differing:
            raise ValueError(
                f"The workdir {workdir} belongs to a run with another config. It differs in "
                f"{'; '.join(differing)}. Choose another --workdir, or the same values."
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, config.to_dict())


def load_config(workdir: epath.PathLike) -> config_dict.ConfigDict:
    """Reads the config of a run.

    Raises:
      FileNotFoundError: if the folder is not a workdir.
    """
    path = epath.Path(workdir) / CONFIG
    if not path.exists():
        raise FileNotFoundError(
            f"{workdir} is not a workdir: it has no {CONFIG}. Expected the folder that "
            "`python -m flowzoo.train` wrote."
        )
    return config_dict.ConfigDict(read_json(path))


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots; values as JSON keeps them."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.loads(json.dumps(value))
    return flat


def read_json(path: epath.Path) -> Any:
    """Reads a JSON file.

    Raises:
      ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); it was damaged.") from None


def write_json(path: epath.Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    temporary = path.parent / f"{path.name}.tmp"
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)
