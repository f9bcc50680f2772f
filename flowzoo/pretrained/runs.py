"""A pretrained model as a run: its flow, its dataset and its config."""

import dataclasses

from ml_collections import config_dict

from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.pretrained.format_1 import current_config
from flowzoo.pretrained.registry import find, load_pretrained
from flowzoo.training.config import make_config
from flowzoo.training.loop import load_data
from flowzoo.training.workdir import CONFIG, read_json


def load_pretrained_run(
    name_or_path: str, *, data_dir: str | None = None
) -> tuple[Flow, Dataset, config_dict.ConfigDict]:
    """A pretrained flow, the dataset it was trained on, and the config of its training.

    Args:
      name_or_path: as for `flowzoo.load_pretrained`.
      data_dir: where the data lie.

    Raises:
      FileNotFoundError: if there is no such model, or the data are missing.
      ValueError: if the model is damaged.
    """
    model = load_pretrained(name_or_path)
    path = find(name_or_path) / CONFIG
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is not there, so the model does not say on which data it was trained; "
            "expected one that `python -m flowzoo.pretrained export` made."
        )
    saved = read_json(path)
    config = make_config(current_config(saved, model.card["name"]))
    config.dataset.data_dir = data_dir or ""
    dataset = dataclasses.replace(load_data(config), preprocessing=model.preprocessing)
    return model.flow, dataset, config
