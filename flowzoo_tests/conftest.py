"""Settings that must stand before JAX starts, and fixtures for all tests."""

import gc
import itertools
import os
from pathlib import Path
import sys

from flowzoo_tests.quick import QUICK, forget_context, make_programs_quickly

os.environ |= QUICK
os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=8"

# Imports leave no garbage, and looking for it took two fifths of the time to collect the tests.
gc.disable()

import jax  # noqa: E402
import pytest  # noqa: E402

make_programs_quickly()

# Linux gives a process 65,530 memory maps; each compiled program takes some, as long as it is kept.
MEMORY_MAPS = 20_000
TESTS_BETWEEN_LOOKS = 50


def pytest_collection_finish():
    """Garbage is looked for from here on, and not among what was imported."""
    gc.collect()
    gc.freeze()
    gc.enable()


def memory_maps() -> int:
    """How many memory maps this process has, 0 where the system does not say."""
    maps = Path("/proc/self/maps")
    return len(maps.read_bytes().splitlines()) if maps.exists() else 0


@pytest.fixture(scope="session")
def tests_so_far():
    return itertools.count(1)


@pytest.fixture(autouse=True)
def few_compiled_programs(tests_so_far):
    """Forgets compiled programs when there are many, and what is kept for making them."""
    yield
    if next(tests_so_far) % TESTS_BETWEEN_LOOKS == 0:
        forget_context()
        if memory_maps() > MEMORY_MAPS:
            jax.clear_caches()


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Calls a command line within this process, in an empty folder."""
    from flowzoo_tests.in_process import Caller

    monkeypatch.chdir(tmp_path)
    # Python keeps what it compiled beside a config; a test of what a program leaves is not of that.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Caller(monkeypatch, capfd)


@pytest.fixture
def x64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield
