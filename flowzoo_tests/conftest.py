"""Settings that must stand before JAX starts, and fixtures for all tests."""

import itertools
import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Every program here runs a few times on a few numbers: compiling it is all that costs. XLA's older
# code generator takes half the time. Programs that the tests start as processes keep the defaults.
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_use_fusion_emitters=false",
    )
)

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_disable_most_optimizations", True)

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
