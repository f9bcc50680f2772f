"""Many tests train the same small run: a program of theirs that takes long is compiled once."""

import jax
from jax.experimental.compilation_cache import compilation_cache
import pytest

SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(scope="package", autouse=True)
def compiled_once(tmp_path_factory):
    before = [getattr(jax.config, name) for name in SETTINGS]
    keep((str(tmp_path_factory.mktemp("programs")), 0.2))
    yield
    keep(before)


def keep(values):
    for name, value in zip(SETTINGS, values, strict=True):
        jax.config.update(name, value)
    # JAX asks once whether programs are kept.
    compilation_cache.reset_cache()
