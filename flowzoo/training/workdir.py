"""The folder of one run: whose it is, and the paths inside it."""

import json
import os
from typing import Any

from etils import epath
from ml_collections import config_dict

from flowzoo.training.config import flatten, make_config

CONFIG, RESULTS, METRICS = "config.json", "results.json", "metrics.jsonl"
# Of a sweep: the name of its best run.
BEST = "best.json"


def default_workdir(config: config_dict.ConfigDict) -> str:
    """`runs/<config.name>`."""
    return os.path.join("runs", config.name)


def claim(workdir: epath.Path, config: config_dict.ConfigDict) -> None:
    """Makes the folder this config's, or checks that it is.

    Raises:
      ValueError: if it holds the run of another config; the message names the differing keys.
      OSError: if the folder cannot be made or written.
    """
    ours = flatten(json.loads(json.dumps(config.to_dict())))
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
      ValueError: if its config is damaged, or has keys or values that this flowzoo does not know.
    """
    path = epath.Path(workdir) / CONFIG
    if not path.exists():
        raise FileNotFoundError(
            f"{workdir} is not a workdir: it has no {CONFIG}. Expected the folder that "
            "`python -m flowzoo.train` wrote."
        )
    saved = read_json(path)
    if not isinstance(saved, dict):
        raise ValueError(f"{path} holds no config but {type(saved).__name__}; it was damaged.")
    try:
        return make_config(saved)
    except ValueError as error:
        raise ValueError(f"{path} is not a config of this flowzoo: {error}") from None


def read_json(path: epath.Path) -> Any:
    """Reads a JSON file.

    Raises:
      ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except ValueError as error:  # of JSON, or of UTF-8
        raise ValueError(f"{path} is not valid JSON ({error}); it was damaged.") from None


def write_json(path: epath.Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    temporary = path.parent / f"{path.name}.tmp"
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)
