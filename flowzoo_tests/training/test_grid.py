import pytest

from flowzoo.training.config import changed, choose
from flowzoo.training.grid import PAPER, combinations, parse_values, resolve

ENTRIES = {"flow": dict(title="Flow", model="fully_connected")}
CONFIG = choose(None, ENTRIES, name="digits", dataset=dict(name="digits"))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-4,1e-3", [1e-4, 1e-3]),
        ("2,5,10", [2, 5, 10]),
        ("relu, tanh", ["relu", "tanh"]),
        ("(100,),(100,100)", [(100,), (100, 100)]),
        ("true,False", [True, False]),
    ],
)
def test_values(text, values):
    assert parse_values(text) == values
    assert [type(value) for value in parse_values(text)] == [type(value) for value in values]


@pytest.mark.parametrize("text", ["", "1,,2", "1,"])
def test_lists_without_a_value_are_refused(text):
    with pytest.raises(ValueError, match="is no list of values"):
        parse_values(text)


def test_keys_are_full_or_the_last_part():
    assert resolve(CONFIG, "learning_rate") == "optimizer.learning_rate"
    assert resolve(CONFIG, "optimizer.learning_rate") == "optimizer.learning_rate"
    assert resolve(CONFIG, "batch_size") == "batch_size"
    # An option of the recipe that the config does not mention.
    assert resolve(CONFIG, "base") == "model.base"
    with pytest.raises(ValueError, match="may mean model.init or model.inner.init"):
        resolve(changed(CONFIG, model="fully_connected_learned"), "init")
    with pytest.raises(ValueError, match="no key of the config. Did you mean .*num_layers"):
        resolve(CONFIG, "num_layer")


def test_every_combination_once():
    configs = combinations(CONFIG, {"learning_rate": [1e-4, 1e-3], "model.num_layers": [2, 5]})
    assert list(configs) == [
        f"learning_rate={rate},num_layers={layers}" for rate in (0.0001, 0.001) for layers in (2, 5)
    ]
    config = configs["learning_rate=0.001,num_layers=5"]
    assert (config.optimizer.learning_rate, config.model.num_layers) == (1e-3, 5)
    assert CONFIG.model.num_layers == 2 and config.model.use_bias


def test_wrong_types_and_repeated_keys_are_refused():
    with pytest.raises(ValueError, match="got num_layers 'two', expected a whole number such as 2"):
        combinations(CONFIG, {"num_layers": ["two"]})
    with pytest.raises(ValueError, match="swept twice"):
        combinations(CONFIG, {"num_layers": [2], "model.num_layers": [5]})


def test_grid_of_the_paper_fits_the_model():
    configs = combinations(CONFIG, PAPER)
    assert len(configs) == 96
    mixed = [config for label, config in configs.items() if label.startswith("nonlinearity=tanh")]
    assert len(mixed) == 48 and all(config.model.nonlinearity.beta == 0.1 for config in mixed)


def test_options_of_a_map_are_swept_with_it():
    grid = {"nonlinearity": ["tanh_mix"], "model.nonlinearity.beta": [0.1, 3.0]}
    with pytest.raises(ValueError, match="beta is no key"):
        combinations(CONFIG, grid)
    deep = changed(CONFIG, model=dict(nonlinearity="tanh_mix"))
    assert [
        config.model.nonlinearity.beta for config in combinations(deep, {"beta": [1, 3.0]}).values()
    ] == [1, 3.0]
