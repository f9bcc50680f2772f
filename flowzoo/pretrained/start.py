"""Pretrained models as what a run starts from."""

from etils import epath
from ml_collections import config_dict

from flowzoo.flow import Flow
from flowzoo.pretrained.registry import load_pretrained
from flowzoo.raw_flow import RawFlow
from flowzoo.training.start import is_workdir
from flowzoo.training.workdir import last_checkpoint


def starting_flow(config: config_dict.ConfigDict, workdir: epath.PathLike) -> Flow | None:
    """The pretrained model that `config.start_from` names, None where it names none.

    It names none if it is empty or the workdir of a run, which the run itself reads, or if the run
    in `workdir` goes on from a checkpoint of its own.

    Raises:
      FileNotFoundError: if the model is nowhere found.
      ValueError: if its files are damaged.
    """
    where = config.start_from
    if not where or last_checkpoint(epath.Path(workdir)) is not None:
        return None
    if "://" not in where and is_workdir(where):
        return None
    found = load_pretrained(where)
    return found.flow if isinstance(found, RawFlow) else found
