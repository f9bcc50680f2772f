import pathlib
import runpy

from flax import nnx
import pytest

from flowzoo.data.tabular import TABULAR_SETS
from flowzoo.reporting.published import published
from flowzoo.training.config import default_config, make_config
from flowzoo.zoo import build

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if "def get_config" in path.read_text())
DIMS = {name: spec.dim for name, spec in TABULAR_SETS.items()} | {"cifar10": 3072}


def abstract_flow(model, dim):
    """The flow without its arrays."""
    return nnx.eval_shape(lambda: build(model, (dim,), rngs=nnx.Rngs(0)))


def entries():
    for name in NAMES:
        for entry in runpy.run_path(str(FOLDER / f"{name}.py"))["ENTRIES"]:
            yield name, entry


@pytest.mark.parametrize(("name", "entry"), entries())
def test_every_config_is_locked_complete_and_named(name, entry):
    config_file = runpy.run_path(str(FOLDER / f"{name}.py"))
    for flags in ("", ",smoke", ",short", ",conditional,short,smoke"):
        if "short" in flags and "short" not in config_file["ENTRIES"][entry]:
            continue
        config = config_file["get_config"](entry + flags)
        assert config.is_locked and set(config) == set(default_config())
        assert config.name == f"{name}/{entry}{flags.replace(',', '-')}" and config.title
        assert make_config(config.to_dict()) == config
        assert ("smoke" in flags) == (config.dataset.limit > 0)
        if "smoke" in flags:
            assert config.num_epochs <= 1


@pytest.mark.parametrize("name", DIMS)
def test_every_model_of_the_tables(name):
    config_file = runpy.run_path(str(FOLDER / f"{name}.py"))
    for entry in config_file["ENTRIES"]:
        config = config_file["get_config"](entry)
        assert config.dataset.name == name
        if config.model.get("degrees") != "random":
            assert abstract_flow(config.model.to_dict(), DIMS[name]).event_shape == (DIMS[name],)
    # The figures of the two papers are of entries that there are.
    for row in published(name):
        later = row.two_standard_errors is None
        assert later or set(row.entries) & set(config_file["ENTRIES"]), row
    assert config_file["get_config"]().model.name == "fully_connected_learned"


def test_headers_print_the_published_numbers():
    for name in TABULAR_SETS:
        header = (FOLDER / f"{name}.py").read_text().split('"""')[1]
        for row in published(name):
            if row.two_standard_errors is None:
                continue
            assert any(
                f"{row.nats:.{digits}f} ± {row.two_standard_errors:.{digits}f}" in header
                for digits in (2, 3)
            ), (name, row)
