"""The parameters of another run or model, from which a run starts."""

from etils import epath
from flax import nnx

from flowzoo.flow import Flow
from flowzoo.numerics.named_arrays import from_arrays, to_arrays
from flowzoo.training.checkpoints import best_of_run
from flowzoo.training.state import Variables, merge, split
from flowzoo.training.workdir import CHECKPOINTS


def is_workdir(path: str) -> bool:
    """Whether there is a folder of a run that saved a checkpoint."""
    return (epath.Path(path) / CHECKPOINTS).exists()


def from_run(workdir: str, graph: nnx.GraphDef, like: Variables) -> Flow:
    """The flow of a run that was best by validation.

    Args:
      workdir: the folder of the run.
      graph: the structure of the flow.
      like: its variables, whose names and shapes the run's must have.

    Raises:
      FileNotFoundError: if the folder is not that of a run with a checkpoint.
      ValueError: if the checkpoint is damaged, or of another model.
    """
    if not is_workdir(workdir):
        raise FileNotFoundError(
            f"config.start_from is {workdir!r}, expected the workdir of a run with a checkpoint."
        )
    return best_of_run(workdir, graph, like)


def as_started(flow: Flow, graph: nnx.GraphDef, like: Variables) -> Flow:
    """A flow's arrays in the structure of another, of the same architecture.

    Raises:
      ValueError: if the arrays have other names or shapes.
    """
    try:
        return merge(graph, from_arrays(to_arrays(split(flow)[1]), like))
    except ValueError as error:
        raise ValueError(
            f"What the run is to start from is another model than the config's. {error} Expected "
            "the same architecture with the same options."
        ) from None
