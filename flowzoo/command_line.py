"""What the command lines share: flags, and errors that are sentences."""

from collections.abc import Callable
import sys

from absl import app, flags, logging

_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show the Python traceback of an error.")

# What flowzoo raises to say that the input, the files or the run are not what they should be.
SENTENCES = (ValueError, OSError, FloatingPointError)


def run(main: Callable[[list[str]], None], *, positional: bool = False) -> None:
    """Runs a command line: an error becomes one sentence on stderr and exit code 1.

    Args:
      main: takes the arguments that are not flags, the program's name first.
      positional: whether there may be such arguments.
    """

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1 and not positional:
            fail(f"Unexpected argument {argv[1]!r}; every option is written --name=value.")
        # Orbax reports every file it touches.
        logging.set_verbosity(logging.ERROR)
        try:
            main(argv)
        except SENTENCES as error:
            if _TRACEBACK.value:
                raise
            fail(str(error))
        except KeyboardInterrupt:
            fail("Interrupted. The same command goes on from the last checkpoint.")

    app.run(guarded, flags_parser=_parse)


def fail(message: str) -> None:
    """Prints one line to stderr and exits with code 1."""
    print(f"Error: {message}", file=sys.stderr)
    sys.exit(1)


def require(name: str, value, example: str) -> None:
    """Ends the program with a sentence unless a flag was given."""
    if value is None:
        fail(f"--{name} is missing. Example: {example}")


def require_one(flags_and_values: dict[str, object], example: str) -> None:
    """Ends the program with a sentence unless exactly one of the flags was given."""
    if sum(value is not None for value in flags_and_values.values()) != 1:
        names = " and ".join(f"--{name}" for name in flags_and_values)
        fail(f"Expected one of {names}. Example: {example}")


def _parse(argv: list[str]) -> list[str]:
    # A config file runs while flags are parsed, so its errors surface here.
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        fail(_last_line(str(error)))
    except AttributeError as error:
        fail(f"Unknown config key {error}. `--config=FILE` lists the keys in that file.")
    except Exception as error:
        fail(_last_line(str(error)))


def _last_line(text: str) -> str:
    return next(line.strip() for line in reversed(text.splitlines() or [text]) if line.strip())
