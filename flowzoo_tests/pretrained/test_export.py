import json

from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo.pretrained.export import export
from flowzoo.pretrained.shrink import shrink
from flowzoo.reporting.results import train_and_evaluate
from flowzoo_tests.perturb import perturbed
from flowzoo_tests.training.small import small_config


def test_an_exported_run_scores_as_it_did(tmp_path):
    results = train_and_evaluate(small_config(num_epochs=1), tmp_path / "run")
    directory = export(tmp_path / "run", tmp_path / "mine", command="flowzoo.train …")
    card = flowzoo.load_pretrained(directory).card
    assert card["model"] == json.loads((directory / "config.json").read_text())["model"]
    assert card["metrics"]["log_likelihood_nats"] == pytest.approx(
        results["log_likelihood_nats"], abs=1e-3
    )
    assert card["num_parameters"] == results["num_parameters"]
    with pytest.raises(FileExistsError, match="choose another name"):
        export(tmp_path / "run", directory)
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(FileNotFoundError, match="not finished"):
        export(tmp_path / "run", tmp_path / "other")


@pytest.mark.parametrize(
    "model",
    [
        {"name": "fully_connected", "whiten": True},
        {"name": "fully_connected", "whiten": True, "use_bias": False},
        {
            "name": "fully_connected_learned",
            "after_dense": ["divisive_normalization"],
            "after_map": [{"name": "divisive_normalization", "reverse": True}],
        },
        {"name": "made_mog", "num_components": 2, "hidden_sizes": (8,)},
    ],
)
def test_shrinking_keeps_the_density(model):
    flow = flowzoo.build(model, (3,), rngs=nnx.Rngs(0))
    x = 2 + jax.random.normal(jax.random.key(0), (50, 3))
    flow.initialize(x)
    flow = perturbed(flow)
    small = shrink(flow)
    np.testing.assert_allclose(small.log_prob(x), flow.log_prob(x), rtol=1e-4, atol=1e-4)
    assert jax.tree.structure(small) == jax.tree.structure(flow)
    zeros = [sum(int((a == 0).sum()) for a in jax.tree.leaves(f)) for f in (flow, small)]
    assert zeros[1] > zeros[0]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["list"], 0, "digits_learned"),
        (["show", "digits_learned"], 0, "## Training"),
        (["show", "nothing"], 1, "Error: There is no pretrained model 'nothing'"),
        (["export", "a", "b"], 1, "Error: a is not a workdir"),
        ([], 1, "Error: Expected list, show"),
    ],
)
def test_command_line(arguments, code, text, call):
    done = call("pretrained.__main__", *arguments)
    assert done.code == code and text in (done.stderr if code else done.stdout)
