"""What the command lines share: flags, and errors that are sentences."""

from collections.abc import Callable
import sys
import threading

from absl import app, flags, logging

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the Python traceback of an error.")

# What flowzoo raises to say that the input, the files or the run are not what they should be.
SENTENCES = (ValueError, OSError, FloatingPointError, ImportError)


def run(main: Callable[[list[str]], None], *, positional: bool = False) -> None:
    """Runs a command line: an error becomes one sentence on stderr and exit code 1.

    Args:
      main: takes the arguments that are not flags, the program's name first.
      positional: whether there may be such arguments.
    """

    # `--help` lists the flags of what the program imports from flowzoo as its own.
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        for flag in defined if module.startswith("flowzoo.") else ():
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1 and not positional:
            fail(f"Unexpected argument {argv[1]!r}; every option is written --name=value.")
        # Orbax reports every file it touches. Errors in its threads arrive here too, by `main`.
        logging.set_verbosity(logging.FATAL)
        if not _TRACEBACK.value:
            threading.excepthook = sys.unraisablehook = lambda _: None
        try:
            main(argv)
        except SENTENCES as error:
            if _TRACEBACK.value:
                raise
            fail(_sentence(error))
        except KeyboardInterrupt as error:
            fail(str(error) or "Interrupted.", code=getattr(error, "code", 130))

    app.run(guarded, flags_parser=_parse)


def fail(message: str, code: int = 1) -> None:
    """Prints one line to stderr and exits."""
    print(f"Error: {message}", file=sys.stderr)
    # Of a program that trains among several processes.
    peers = sys.modules.get("flowzoo.training.peers")
    (peers.leave if peers else sys.exit)(code)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}."
    return str(error)


def require(name: str, value, example: str) -> None:
    """Ends the program with a sentence unless a flag was given."""
    if value is None:
        fail(f"--{name} is missing. Example: {example}")


def require_one(flags_and_values: dict[str, object], example: str) -> None:
    """Ends the program with a sentence unless exactly one of the flags was given."""
    if sum(value is not None for value in flags_and_values.values()) != 1:
        names = " and ".join(f"--{name}" for name in flags_and_values)
        fail(f"Expected one of {names}. Example: {example}")
    for name, value in flags_and_values.items():
        if value == "":
            fail(f"--{name} is empty. Example: {example}")


def define_config(default: str | None = None) -> flags.FlagHolder:
    """Defines `--config`; `config` reads what it names."""
    return flags.DEFINE_string(
        "config",
        default,
        "A config: FILE.py[:entry[,flag ...]], or the name of one that flowzoo ships; "
        "--config.KEY=VALUE changes a key of it.",
    )


def config(value: str):
    """The config that a flag of `define_config` names, with the changes of the command line."""
    from flowzoo.training.config_file import read_config

    return read_config(value, _overrides)


def take(name: str, argv: list[str]) -> tuple[list[str], dict[str, str | None]]:
    """Takes `--NAME.KEY=TEXT` or `--NAME.KEY TEXT` off a command line.

    Returns:
      The other arguments, and the texts by key, None where there was no text.
    """
    rest, found, i = [], {}, 0
    while i < len(argv):
        head, equals, text = argv[i].partition("=")
        i += 1
        if not head.startswith("-") or not head.lstrip("-").startswith(f"{name}."):
            rest.append(argv[i - 1])
            continue
        key = head.lstrip("-").removeprefix(f"{name}.")
        if not equals and i < len(argv) and not argv[i].startswith("--"):
            text, equals = argv[i], "="
            i += 1
        found.pop(key, None)  # Later ones hold, also among themselves.
        found[key] = text if equals else None
    return rest, found


# Of this process's config, by key.
_overrides: dict[str, str | None] = {}


def _parse(argv: list[str]) -> list[str]:
    rest, found = take("config", argv)
    _overrides.update(found)
    try:
        return flags.FLAGS(rest)
    except flags.Error as error:
        fail(str(error).strip().splitlines()[-1])
