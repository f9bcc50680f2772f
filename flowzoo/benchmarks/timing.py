"""Times of several programs, taken in turn.

A machine's speed drifts with its temperature and its other work. Programs that are to be compared
therefore run in rounds, each once per round, and are compared round by round.
"""

from collections.abc import Callable, Mapping
import math
import time

import numpy as np

# A program does its work so many times and returns when all of it is done.
Program = Callable[[int], object]


def interleaved(
    programs: Mapping[str, Program],
    *,
    repeats: int,
    min_seconds: float = 0.05,
    max_seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Measures programs in turn, after one call of each to warm up.

    Args:
      programs: by name.
      repeats: number of rounds.
      min_seconds: a measurement repeats a program's work until it takes about this long.
      max_seconds: a program that has taken this long in all stays out of the remaining rounds.
      clock: `time.process_time` for the time of processors, where others use them too.

    Returns:
      name -> `[rounds]`, seconds for doing the work once; `rounds` is at least 1.
    """
    times, first = {}, {}
    for name, program in programs.items():
        _seconds(program, 1, clock)
        first[name] = _seconds(program, 1, clock)
        times[name] = []
    counts = {name: max(1, math.ceil(min_seconds / first[name])) for name in programs}
    spent = {name: 2 * first[name] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            if times[name] and spent[name] >= max_seconds:
                continue
            seconds = _seconds(program, counts[name], clock)
            spent[name] += seconds
            times[name].append(seconds / counts[name])
    return {name: np.array(seconds) for name, seconds in times.items()}


def ratio(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Median and lower and upper quartile of `a / b`, over the rounds that both took part in."""
    rounds = min(len(a), len(b))
    return quartiles(a[:rounds] / b[:rounds])


def quartiles(a: np.ndarray) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    median, lower, upper = np.quantile(a, (0.5, 0.25, 0.75)).tolist()
    return median, lower, upper


def _seconds(program: Program, count: int, clock: Callable[[], float]) -> float:
    start = clock()
    program(count)
    return clock() - start
