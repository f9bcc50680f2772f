"""Settings that must stand before JAX starts, and fixtures for all tests."""

import itertools
import os

from flowzoo_tests.quick import QUICK

os.environ |= QUICK
os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=8"

import jax  # noqa: E402
import pytest  # noqa: E402

# Linux gives a process 65,530 memory maps; each compiled program takes some, as long as it is kept.
TESTS_WITH_ONE_CACHE = 100


@pytest.fixture(scope="session")
def tests_so_far():
    return itertools.count(1)


@pytest.fixture(autouse=True)
def few_compiled_programs(tests_so_far):
    """Forgets compiled programs now and then."""
    yield
    if next(tests_so_far) % TESTS_WITH_ONE_CACHE == 0:
        jax.clear_caches()


@pytest.fixture
def call(monkeypatch, capfd, tmp_path):
    """Calls a command line within this process, in an empty folder."""
    from flowzoo_tests.in_process import Caller

    monkeypatch.chdir(tmp_path)
    return Caller(monkeypatch, capfd)


@pytest.fixture
def x64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield
