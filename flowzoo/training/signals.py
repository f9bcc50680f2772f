"""SIGTERM and SIGINT end a run behind a checkpoint."""

from collections.abc import Callable, Iterator
import contextlib
import signal
import threading


class Stopped(KeyboardInterrupt):
    """A signal stopped the run; the message says where, and `code` is what the process ends with.

    Like the `KeyboardInterrupt` that it is, it passes where only errors are caught.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.code = 128 + number


@contextlib.contextmanager
def caught() -> Iterator[Callable[[], int]]:
    """Notes the first SIGTERM or SIGINT within the block instead of dying of it.

    A second one does what it did before the block. Where Python lets nobody catch signals, which is
    in all threads but the main one, they do that at once.

    Yields:
      A function that returns the number of the signal, 0 if there was none.
    """
    received = 0
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def note(number, frame):
        nonlocal received
        received = number
        restore()

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: received
    finally:
        restore()
