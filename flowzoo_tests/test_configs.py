import pathlib
import runpy

from flax import nnx
import pytest

from flowzoo.data.tabular import TABULAR_SETS
from flowzoo.reporting.published import published, published_model
from flowzoo.training.config import default_config
from flowzoo.zoo import build

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
DIMS = {name: spec.dim for name, spec in TABULAR_SETS.items()} | {"cifar10": 3072}


def abstract_flow(model, dim):
    """The flow without its arrays."""
    return nnx.eval_shape(lambda: build(model, (dim,), rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("name", DIMS)
def test_every_model_of_the_tables(name):
    config_file = runpy.run_path(str(FOLDER / f"{name}.py"))
    titles = set()
    for model in config_file["MODELS"]:
        config = config_file["get_config"](f"{model},smoke")
        assert set(config) == set(default_config()) and config.dataset.name == name
        titles.add(published_model(config.model))
        if config.model.get("degrees") != "random":
            assert abstract_flow(config.model, DIMS[name]).event_shape == (DIMS[name],)
    assert {row.model for row in published(name)} <= titles
    assert config_file["get_config"]().model.name == "relative_gradient"


def test_headers_print_the_published_numbers():
    for name in TABULAR_SETS:
        header = (FOLDER / f"{name}.py").read_text().split('"""')[1]
        for row in published(name):
            assert any(
                f"{row.nats:.{digits}f} ± {row.two_standard_errors:.{digits}f}" in header
                for digits in (2, 3)
            ), (name, row)
