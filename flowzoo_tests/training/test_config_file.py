"""Config files, shipped ones and changes of keys; what is refused stands in `test_bad_input`."""

import pytest

from flowzoo.training.config_file import SHIPPED, find, read_config


def test_a_file_on_disk_goes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find("configs/mnist.py") == find("mnist") == find("mnist.py") == SHIPPED / "mnist.py"
    own = tmp_path / "configs" / "mnist.py"
    own.parent.mkdir()
    own.write_text("def get_config():\n    return {'name': 'own', 'title': 'Own'}\n")
    assert find("configs/mnist.py").read_text() == own.read_text()
    assert find("mnist") == SHIPPED / "mnist.py"
    # What the shipped files share is no config.
    with pytest.raises(FileNotFoundError, match="no config file 'baselines'"):
        find("baselines")


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        ({"batch_size": "7"}, "batch_size", 7),
        ({"optimizer.learning_rate": "1"}, "optimizer.learning_rate", 1.0),
        ({"optimizer.clip_norm": "5"}, "optimizer.clip_norm", 5.0),
        ({"optimizer.clip_norm": "None"}, "optimizer.clip_norm", None),
        ({"conditional": None}, "conditional", True),
        ({"conditional": "true"}, "conditional", True),
        ({"dataset.data_dir": "1"}, "dataset.data_dir", "1"),
        ({"name": "mine/1"}, "name", "mine/1"),
        ({"model.use_bias": "false"}, "model.use_bias", False),
        ({"model.inner": "mixture_cdf"}, "model.inner.num_components", 16),
        ({"model.inner.name": "mixture_cdf"}, "model.inner.num_components", 16),
        ({"model.inner": "{'name': 'spline', 'num_bins': 4}"}, "model.inner.num_bins", 4),
        ({"model.outer": "learned_tanh_mix"}, "model.outer.name", "learned_tanh_mix"),
        ({"model.name": "maf", "model.hidden_sizes": "64"}, "model.hidden_sizes", (64,)),
        ({"model.name": "maf", "model.hidden_sizes": "(64, 32)"}, "model.hidden_sizes", (64, 32)),
        ({"model.after_dense": "()"}, "model.after_dense", ()),
    ],
    ids=str,
)
def test_keys_are_changed_on_the_command_line(overrides, key, value):
    config = read_config("digits", overrides)
    for part in key.split("."):
        config = config[part]
    assert config == value and type(config) is type(value)


def test_the_same_name_keeps_the_options_beside_it():
    overrides = {"model.inner.num_bins": "4", "model.inner.name": "spline"}
    assert read_config("digits", overrides).model.inner.num_bins == 4
