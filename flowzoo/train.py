"""Trains a model: `python -m flowzoo.train --config=configs/digits.py`.

The run goes on where it stopped when the same command is typed again.
"""

from absl import flags

from flowzoo import command_line

EXAMPLE = "python -m flowzoo.train --config=configs/digits.py"

_CONFIG = command_line.define_config()
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; by default runs/<config.name>.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator_address", None, "host:port of the first process, for several processes."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this one is, from 0.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Find the other processes by themselves (TPU pods, Slurm)."
)


def main(argv: list[str]) -> None:
    del argv
    command_line.require("config", _CONFIG.value, EXAMPLE)
    config = command_line.config(_CONFIG.value)

    import jax

    from flowzoo.training import peers

    if _DISTRIBUTED.value or _COORDINATOR.value is not None:
        peers.connect(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    elif _NUM_PROCESSES.value is not None or _PROCESS_ID.value is not None:
        raise ValueError(
            "--num_processes and --process_id need --coordinator_address, host:port of the first "
            "process; where the cluster knows it, --distributed alone."
        )

    from flowzoo.pretrained.start import starting_flow
    from flowzoo.reporting.results import describe, train_and_evaluate
    from flowzoo.training.devices import enable_compilation_cache, is_main_process
    from flowzoo.training.workdir import default_workdir

    enable_compilation_cache()
    workdir = _WORKDIR.value or default_workdir(config)
    try:
        results = train_and_evaluate(config, workdir, start=starting_flow(config, workdir))
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        reason = str(error).splitlines()[0]
        raise OSError(f"A process that trains with this one is gone: {reason}") from error
    if is_main_process():
        print(describe(results))
        print(f"  results, samples and curve in {workdir}")


if __name__ == "__main__":
    command_line.run(main)
