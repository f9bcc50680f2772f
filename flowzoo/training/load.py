"""From a workdir, or a pretrained model, back to a flow and its data."""

from etils import epath
import jax
from ml_collections import config_dict

from flowzoo.data.arrays import PREFIX
from flowzoo.data.dataset import Dataset
from flowzoo.flow import Flow
from flowzoo.training.checkpoints import best_of_run
from flowzoo.training.loop import build_flow, load_data
from flowzoo.training.state import split
from flowzoo.training.workdir import load_config
from flowzoo.transforms.linear.dense import check_invertible


def load_run(
    workdir: epath.PathLike, *, data_dir: str | None = None
) -> tuple[Flow, Dataset, config_dict.ConfigDict]:
    """The flow with the best validation likelihood of a run, its dataset and its config.

    Args:
      workdir: what `python -m flowzoo.train` or `flowzoo.fit(workdir=…)` wrote.
      data_dir: where the data lie, if not where the run found them.

    Raises:
      FileNotFoundError: if the folder is not a workdir, has no checkpoint, or the data are missing.
      ValueError: if the checkpoint is damaged or a layer in it is singular.
    """
    config = load_config(workdir)
    if data_dir is not None:
        config.dataset.data_dir = data_dir
    elif config.dataset.name.startswith(PREFIX):
        config.dataset.data_dir = str(workdir)  # where `fit` left its array
    dataset = load_data(config)
    graph, variables = split(build_flow(config, dataset))
    flow = best_of_run(workdir, graph, jax.device_get(variables))
    check_invertible(flow)
    return flow, dataset, config
