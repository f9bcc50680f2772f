"""A command line called within this process: a process of its own takes seconds to start."""

from collections.abc import Iterator
import contextlib
import runpy
import sys
import threading
from typing import NamedTuple

from absl import app, flags
import pytest

from flowzoo import command_line


class Ended(NamedTuple):
    """How a command line ended, and what it printed."""

    code: int
    stdout: str
    stderr: str


class Caller:
    """`caller("train", "--config=digits:smoke")` is `python -m flowzoo.train --config=…`.

    `caller("folder/program.py")` is `python folder/program.py`.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture):
        self.monkeypatch, self.capfd = monkeypatch, capfd

    def __call__(self, program: str, *arguments: str) -> Ended:
        self.capfd.readouterr()
        with fresh_flags():
            self.monkeypatch.setattr(sys, "argv", [program, *arguments])
            # `command_line` silences them; this puts them back.
            self.monkeypatch.setattr(threading, "excepthook", threading.excepthook)
            self.monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
            self.monkeypatch.delitem(sys.modules, f"flowzoo.{program}", raising=False)
            code = 0
            try:
                if program.endswith(".py"):
                    runpy.run_path(program, run_name="__main__")
                else:
                    runpy.run_module(f"flowzoo.{program}", run_name="__main__", alter_sys=True)
            except SystemExit as end:
                code = end.code or 0
        return Ended(code, *self.capfd.readouterr())


@contextlib.contextmanager
def fresh_flags() -> Iterator[None]:
    """Without the flags of other programs that this process has imported."""
    app.define_help_flags()  # Which it does but once.
    modules = flags.FLAGS.flags_by_module_dict().items()
    kept = {flag.name for module, found in modules if module.startswith("absl") for flag in found}
    kept.add("traceback")  # of `command_line`, which all share
    others = {name: flags.FLAGS[name] for name in set(flags.FLAGS) - kept}
    for name in others:
        delattr(flags.FLAGS, name)
    before = set(flags.FLAGS)
    try:
        yield
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        for name, flag in others.items():
            flags.FLAGS[name] = flag
        flags.FLAGS["traceback"].unparse()
        command_line._overrides.clear()
