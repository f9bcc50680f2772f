"""Several processes that train as one: how they find each other, and what happens if one dies."""

import atexit
import os
import socket
import sys
import threading
import time

import jax

BEAT, DEAD_AFTER = 1.0, 8.0  # seconds
CONNECT_WITHIN = 60.0
# The service through which processes talk lives in process 0. JAX aborts whoever loses it, before
# that one can say what it has to say about the same mistake.
FIRST_LEAVES_AFTER = 3.0

_stop = threading.Event()
_connected = False


def connect(address: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes, and from then on ends this one if another dies.

    Args:
      address: `host:port` of the first process; None: the cluster says (TPU pods, Slurm), and the
        other arguments are not needed.
      num_processes: how many processes there are.
      process_id: which of them this one is, from 0.

    Raises:
      ValueError: if an argument is missing or cannot be meant.
      OSError: if nobody answers at the address.
    """
    global _connected
    if address is not None:
        host, port = _check(address, num_processes, process_id)
        if process_id == 0:
            _check_free(address, port)
        else:
            _wait_for(address, host, port)
    jax.distributed.initialize(
        address, num_processes, process_id, heartbeat_timeout_seconds=int(4 * DEAD_AFTER)
    )
    _connected = True
    if jax.process_count() > 1:
        threading.Thread(target=_watch, name="flowzoo peers", daemon=True).start()
        # Before JAX waits for the others at exit.
        atexit.register(_stop.set)


def leave(code: int) -> None:
    """Ends the process; one of several without waiting for the others, who wait for it."""
    if _connected:
        sys.stdout.flush()
        sys.stderr.flush()
        if jax.process_count() > 1 and jax.process_index() == 0:
            time.sleep(FIRST_LEAVES_AFTER)
        os._exit(code)
    sys.exit(code)


def _check(address: str, num_processes: int | None, process_id: int | None) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"--coordinator_address is {address!r}, expected host:port of the first process."
        )
    if num_processes is None or process_id is None:
        raise ValueError(
            "--coordinator_address needs --num_processes and --process_id: how many processes "
            "there are, and which of them this one is."
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id is {process_id}, expected a number from 0 to {num_processes - 1}, "
            "one less than --num_processes."
        )
    try:
        socket.getaddrinfo(host, int(port))
    except socket.gaierror as error:
        raise ValueError(
            f"--coordinator_address names the host {host!r}, which is unknown: {error.strerror}."
        ) from None
    return host, int(port)


def _check_free(address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise OSError(
                f"Process 0 cannot listen at {address}: {error.strerror}. Choose another port."
            ) from None


def _wait_for(address: str, host: str, port: int) -> None:
    # JAX would abort the process if nobody answers.
    deadline = time.monotonic() + CONNECT_WITHIN
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise OSError(
                    f"No process answers at {address} ({error}): start the one with --process_id=0 "
                    "there, and check --coordinator_address."
                ) from None
            time.sleep(0.2)


def _watch() -> None:
    """Beats once a second, and ends this process when another has not for some time."""
    from jax._src.distributed import global_state  # The only way to the processes' common memory.

    client, own = global_state.client, jax.process_index()
    heard = {p: ("", time.monotonic()) for p in range(jax.process_count()) if p != own}
    beat = 0
    while not _stop.wait(BEAT):
        beat += 1
        try:
            client.key_value_set(f"flowzoo/{own}", str(beat), allow_overwrite=True)
        except Exception:  # JAX's runtime has no class of errors for this.
            _end("Process 0, at --coordinator_address,")
        for process, (last, when) in list(heard.items()):
            try:
                now = client.key_value_try_get(f"flowzoo/{process}")
            except Exception:
                now = ""  # Not one beat yet.
            if now != last:
                heard[process] = now, time.monotonic()
            elif last and time.monotonic() - when > DEAD_AFTER:
                _end(f"Process {process}")
    client.key_value_delete(f"flowzoo/{own}")


def _end(who: str) -> None:
    if _stop.is_set():
        return
    print(
        f"Error: {who} does not answer any more, so this one ends too. Start all of them again: "
        "they go on from the last checkpoint.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
