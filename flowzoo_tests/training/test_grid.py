import pytest

from flowzoo.training.config import choose
from flowzoo.training.grid import PAPER, combinations, parse_values, resolve

MODELS = {"flow": dict(model=dict(name="relative_gradient", num_layers=2, use_bias=True))}
CONFIG = choose(None, MODELS)


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
    with pytest.raises(ValueError, match="may mean dataset.name or model.name or optimizer.name"):
        resolve(CONFIG, "name")
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
    with pytest.raises(ValueError, match="--sweep.num_layers got 'two', expected a int like 2"):
        combinations(CONFIG, {"num_layers": ["two"]})
    with pytest.raises(ValueError, match="swept twice"):
        combinations(CONFIG, {"num_layers": [2], "model.num_layers": [5]})


def test_grid_of_the_paper_fits_the_model():
    assert len(combinations(CONFIG, PAPER)) == 96
