"""Config files as a command line names them, `--config=FILE[:entry[,flag …]]`."""

from collections.abc import Mapping
import importlib.resources
import importlib.util
import inspect
import pathlib
import traceback
from typing import Any

from ml_collections import config_dict

from flowzoo.numerics.names import did_you_mean
from flowzoo.training.config import ArgumentError, make_config, overridden, parse_value

SHIPPED = pathlib.Path(str(importlib.resources.files("flowzoo.configs")))


def read_config(
    value: str, overrides: Mapping[str, str | None] | None = None
) -> config_dict.ConfigDict:
    """The config that a command line asks for.

    Args:
      value: the path of a config file, or the name of one that flowzoo ships (`mnist`,
        `configs/mnist.py`), and after a colon the argument of its `get_config`.
      overrides: `--config.KEY=TEXT` by key, None for an argument without a value.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is no config file, fails, or has keys or values that cannot be meant.
    """
    path, colon, argument = value.partition(":")
    config = _run(find(path), argument if colon else None)
    return overridden(config, overrides or {}, parse_value)


def find(path: str) -> pathlib.Path:
    """The config file of a path, or the shipped one of that name.

    Raises:
      FileNotFoundError: if there is none.
      ValueError: if it is a folder.
    """
    file = pathlib.Path(path).expanduser()
    if file.is_file():
        return file
    name = path.removeprefix("configs/").removesuffix(".py")
    shipped = {p.stem: p for p in SHIPPED.glob("*.py") if "def get_config(" in p.read_text()}
    if name in shipped:
        return shipped[name]
    known = ", ".join(sorted(shipped))
    if file.is_dir():
        raise ValueError(f"--config names the folder {path}, expected a file, or one of {known}.")
    raise FileNotFoundError(
        f"There is no config file {path!r}.{did_you_mean(name, shipped)} flowzoo ships {known}."
    )


def _run(path: pathlib.Path, argument: str | None) -> config_dict.ConfigDict:
    try:
        spec = importlib.util.spec_from_file_location("flowzoo_config", path)
        if spec is None or spec.loader is None:
            raise ValueError(f"{path} is no Python file, expected one that defines get_config.")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        get_config = getattr(module, "get_config", None)
        if not callable(get_config):
            raise ValueError(f"{path} defines no function get_config, expected one.")
        if argument is not None and not inspect.signature(get_config).parameters:
            raise ArgumentError(
                f"get_config of {path} takes no argument, but --config ends in ':{argument}'."
            )
        config = get_config() if argument is None else get_config(argument)
    except ArgumentError:
        raise
    except Exception as error:
        line = _line(error, path)
        where = f"{path}, line {line}: " if line else ""
        what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{where}{what}") from error
    if isinstance(config, config_dict.ConfigDict):
        config = config.to_dict()
    if not isinstance(config, Mapping):
        raise ValueError(
            f"get_config of {path} returned {config!r}, expected a ConfigDict or a dictionary."
        )
    try:
        return make_config(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _line(error: Exception, path: pathlib.Path) -> int | None:
    """The last line of the file that took part in an error."""
    if isinstance(error, SyntaxError):
        return error.lineno
    frames: list[Any] = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if pathlib.Path(f.filename) == path.absolute()]
    return lines[-1] if lines else None
