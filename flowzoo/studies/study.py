"""What the studies share: options, a record that resumes, the table and the picture.

A study is a module with a constant `STUDY` whose last lines are

    if __name__ == "__main__":
        study.main(STUDY)

Its options become flags. `python -m flowzoo.studies.<name>` measures, cell by cell, into
`runs/studies/<name>.json`, prints the table and writes it and the picture beside that file
(`<name>.md`, `<name>.png`); with `--smoke` everything is small, ends in seconds and goes to
`<name>-smoke`. The same command again goes on where it was stopped, and other options add their
cells to those that are there. Cells that do not depend on each other are measured side by side, by
default in two processes (`--processes`): one program here keeps little more than one core busy.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
import json
import math
import multiprocessing
import os
import signal
import threading
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

from absl import flags
from etils import epath
import jax
from matplotlib.figure import Figure

from flowzoo import command_line
from flowzoo.reporting import plots, results
from flowzoo.training.devices import enable_compilation_cache, usable_cores
from flowzoo.training.workdir import read_json

FOLDER = "runs/studies"


class Option(NamedTuple):
    """One option of a study.

    Attributes:
      default: a number, a string, or a tuple of numbers or strings.
      help: one sentence.
      smoke: its value under `--smoke`; None for the default.
      choices: the values that it, or each element of it, may have; None for any.
      least: the smallest number that it, or each element of it, may be.
    """

    default: Any
    help: str
    smoke: Any = None
    choices: tuple | None = None
    least: float | None = None


class Study(NamedTuple):
    """A study.

    Attributes:
      name: the module's.
      options: by name; `seed` is among those of every study.
      measure: from the settings, one attribute for each option, and the record to anything.
      table: from what `measure` returns to Markdown.
      draw: from what `measure` returns to a figure.
    """

    name: str
    options: dict[str, Option]
    measure: Callable[[SimpleNamespace, "Record"], Any]
    table: Callable[[Any], str]
    draw: Callable[[Any], Figure]


class Record:
    """The measured cells of a study in one JSON file, which is saved after each.

    A cell is what was measured under one key, a dictionary that holds everything it depends on.

    Args:
      path: of the file; None keeps the cells in memory only.
      name: the study's.
      command: the command line, stored with the cells that it measures.
      processes: how many cells `cells` measures at once; 1 measures them in this process.

    Raises:
      ValueError: if the file is damaged or holds another study.
    """

    def __init__(
        self,
        path: epath.PathLike | None,
        name: str,
        command: str | None = None,
        *,
        processes: int = 1,
    ):
        self.path = None if path is None else epath.Path(path)
        self.content = {"study": name, "cells": []}
        if self.path is not None and self.path.exists():
            content = read_json(self.path)
            if not isinstance(content, dict) or content.get("study") != name:
                raise ValueError(f"{self.path} does not hold the study {name!r}; give another out.")
            self.content = content
        self._command, self._processes = command, processes
        self._cells = {_text(cell["key"]): cell["values"] for cell in self.content["cells"]}

    def cell(self, key: Mapping[str, Any], measure: Callable[[], dict]) -> dict:
        """What is stored under the key, or what `measure()` returns, which is then stored.

        Args:
          key: what the cell depends on; numbers, strings, and lists of them.
          measure: a function of no arguments that returns a dictionary of numbers, strings, lists
            and dictionaries. Numbers that are not finite are stored as None.
        """
        return self.cells({"": (key, measure)})[""]

    def cells(
        self, wanted: Mapping[Hashable, tuple[Mapping[str, Any], Callable[[], dict]]]
    ) -> dict[Hashable, dict]:
        """Several cells, of which those that are missing are measured side by side.

        Args:
          wanted: name -> key and `measure`, as for `cell`. More than one process can be used where
            each `measure` can be pickled: a `functools.partial` of a module's function.

        Returns:
          name -> what is stored under the key, in the same order.

        Raises:
          ChildProcessError: if a process ended without a result, as when memory runs out.
        """
        missing = {
            text: measure
            for key, measure in wanted.values()
            if (text := _text(key)) not in self._cells
        }
        processes = min(self._processes, len(missing))
        measured = _side_by_side(missing, processes) if processes > 1 else _in_turn(missing)
        for text, found in measured:
            key = json.loads(text)
            self.content["cells"].append({"key": key, "command": self._command, **found})
            self._cells[text] = found["values"]
            self._save()
            print(f"{found['seconds']:7.1f} s  {_words(key)}", flush=True)
        return {name: self._cells[_text(key)] for name, (key, _) in wanted.items()}

    def _save(self) -> None:
        """Writes the file whole or not at all, a line for each cell."""
        if self.path is None:
            return
        cells = ",\n".join(json.dumps(cell) for cell in self.content["cells"])
        temporary = self.path.parent / f"{self.path.name}.tmp"
        temporary.write_text(
            f'{{"study": {json.dumps(self.content["study"])}, "cells": [\n{cells}\n]}}\n'
        )
        temporary.replace(self.path)


def _measured(measure: Callable[[], dict]) -> dict:
    """What `measure()` returns, how long it took, and on what."""
    start = time.perf_counter()
    values = json.loads(json.dumps(_plain(measure())))
    seconds = round(time.perf_counter() - start, 1)
    return {"hardware": results.device_name(), "seconds": seconds, "values": values}


def _in_turn(missing: dict[str, Callable[[], dict]]) -> Iterator[tuple[str, dict]]:
    for text, measure in missing.items():
        yield text, _measured(measure)


def _side_by_side(
    missing: dict[str, Callable[[], dict]], processes: int
) -> Iterator[tuple[str, dict]]:
    """As `_in_turn`, in several processes, in the order in which they are done."""
    # A process that has started JAX has threads and cannot be forked.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, _begin_process)
    try:
        texts = {pool.submit(_measured, measure): text for text, measure in missing.items()}
        for future in as_completed(texts):
            yield texts[future], future.result()
    except BaseException as error:
        # After an error nobody waits for the other cells.
        for process in multiprocessing.active_children():
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessError(
                "A process that measured a cell ended without a result, perhaps because memory ran "
                "out; what was measured is saved, and --processes=1 takes less of it."
            ) from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_process() -> None:
    """Ends this process with the one that started it, which alone hears an interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
    enable_compilation_cache()


def settings(study: Study, given: Mapping[str, Any] | None = None, *, smoke: bool = False):
    """The options' values: those given, else those for a smoke run, else the defaults.

    Raises:
      ValueError: if a value is not what the option takes, or there is no such option.
    """
    given = dict(given or {})
    values = {}
    for name, option in study.options.items():
        value = given.pop(name, None)
        if value is None:
            value = option.smoke if smoke and option.smoke is not None else option.default
        values[name] = _checked(name, value, option)
    if given:
        raise ValueError(
            f"The study {study.name} got the option {next(iter(given))!r}, expected one of "
            f"{', '.join(study.options)}."
        )
    return SimpleNamespace(**values)


def main(study: Study) -> None:
    """The command line of a study."""
    for name, option in study.options.items():
        shown = _shown(option.default)
        text = f"{option.help} By default {shown}."
        if option.choices is not None:
            text += f" Known: {', '.join(map(str, option.choices))}."
        flags.DEFINE_string(name, None, text)
    flags.DEFINE_bool("smoke", False, "Measure the smallest case only, in seconds.")
    flags.DEFINE_string("out", FOLDER, "Folder for the record, the table and the picture.")
    flags.DEFINE_integer(
        "processes",
        None,
        "How many cells are measured at once, each in a process of its own. By default two where "
        "JAX computes on a CPU of several cores, else one.",
        lower_bound=1,
    )

    def run(argv: list[str]) -> None:
        del argv
        values = flags.FLAGS.flag_values_dict()
        given = {
            name: _parse(name, values[name], option)
            for name, option in study.options.items()
            if values[name] is not None
        }
        enable_compilation_cache()
        folder, smoke = epath.Path(values["out"]), values["smoke"]
        name = f"{study.name}-smoke" if smoke else study.name
        chosen = settings(study, given, smoke=smoke)
        folder.mkdir(parents=True, exist_ok=True)
        processes = values["processes"] or (1 if smoke else _num_processes())
        record = Record(folder / f"{name}.json", study.name, _command(), processes=processes)
        found = study.measure(chosen, record)
        table = study.table(found)
        (folder / f"{name}.md").write_text(table + "\n")
        plots.save(study.draw(found), folder / f"{name}.png")
        print(table)
        print(f"Record, table and picture: {folder / name}.json, .md and .png")

    command_line.run(run)


def _num_processes() -> int:
    """Two, where there are cores for them and no accelerator's memory to share."""
    return min(2, usable_cores()) if jax.default_backend() == "cpu" else 1


def _command() -> str | None:
    """The command line, without the folder and the processes, which change no value."""
    command = results.command()
    if command is None:
        return None
    parts = command.split()
    return " ".join(p for p in parts if not p.lstrip("-").startswith(("out=", "processes=")))


def _parse(name: str, text: str, option: Option) -> Any:
    """A flag's text as a value of the option's type."""
    example = option.default
    if not isinstance(example, tuple):
        return _number(name, text, example, option)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(_number(name, part, example[0], option) for part in parts)


def _number(name: str, text: str, example: Any, option: Option) -> Any:
    if isinstance(example, str):
        return text
    try:
        return type(example)(text)
    except ValueError:
        kind = "an integer" if isinstance(example, int) else "a number"
        raise ValueError(
            f"--{name} got {text!r}, expected {kind}, such as {_shown(option.default)}."
        ) from None


def _checked(name: str, value: Any, option: Option) -> Any:
    several = isinstance(option.default, tuple)
    if several and (not isinstance(value, (tuple, list)) or not value):
        raise ValueError(f"--{name} got {value!r}, expected one or more, separated by commas.")
    value = tuple(value) if several else value
    for one in value if several else (value,):
        if option.choices is not None and one not in option.choices:
            known = ", ".join(map(str, option.choices))
            raise ValueError(f"--{name} got {one!r}, expected one of {known}.")
        if option.least is not None and not option.least <= one < math.inf:
            raise ValueError(f"--{name} got {one}, expected a number of at least {option.least}.")
    return value


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(_plain(key), sort_keys=True)


def _words(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_shown(value)}" for name, value in key.items())


def _plain(value: Any) -> Any:
    """Arrays, tuples and numpy's numbers as JSON has them."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        # Six digits are more than any of these figures repeats to on other hardware.
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
