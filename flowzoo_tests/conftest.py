"""Settings that must stand before JAX starts, and fixtures for all tests."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax  # noqa: E402
import pytest  # noqa: E402


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
