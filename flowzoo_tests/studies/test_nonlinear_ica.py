from flax import nnx
import numpy as np
import pytest

from flowzoo.studies import nonlinear_ica
from flowzoo.studies.nonlinear_ica import STUDY
from flowzoo.studies.study import Record, settings

SMALL = dict(layers=(1,), dims=(2,), methods=("flow", "linear", "fastica"))


def test_table_and_picture_hold_every_method(tmp_path):
    chosen = settings(STUDY, SMALL, smoke=True)
    found = STUDY.measure(chosen, Record(tmp_path / "record.json", STUDY.name))
    assert set(found["cells"]) == {(method, 1, 2) for method in SMALL["methods"]}
    assert all(0 < cell["mcc"] <= 1 for cells in found["cells"].values() for cell in cells)
    table = STUDY.table(found)
    assert "| fully connected, u in the base |" in table and "| FastICA |" in table
    assert STUDY.draw(found).axes


def test_what_was_measured_before_is_not_measured_again(tmp_path, monkeypatch):
    chosen = settings(STUDY, SMALL | dict(methods=("linear",)), smoke=True)
    STUDY.measure(chosen, Record(tmp_path / "record.json", STUDY.name))
    monkeypatch.setattr(nonlinear_ica, "_measure", lambda *_: pytest.fail("It was."))
    STUDY.measure(chosen, Record(tmp_path / "record.json", STUDY.name))


def test_triangular_flows_have_the_same_base_and_do_not_see_u():
    rng = np.random.default_rng(0)
    x, u = rng.normal(size=(80, 2)).astype(np.float32), np.repeat(np.arange(8), 10)
    chosen = settings(STUDY, dict(starts=1, steps=2), smoke=True)
    model = dict(name="maf", num_layers=1, hidden_sizes=(4,), batch_norm=False)
    flow = nonlinear_ica._triangular(model, x, u, 1, chosen).flow
    assert flow.context.num_classes == 8 and flow.base.profile
    # The latents are a function of x alone: the transform takes no context.
    assert flow.transform.forward(x[:3]).shape == (3, 2)
    # From the data on, the base follows the latents of each class.
    z = np.asarray(flow.transform.forward(x))
    np.testing.assert_allclose(flow.base.mean[...][2], z[u == 2].mean(0), atol=1e-5)


def test_the_deep_flow_has_twice_the_layers_of_the_mixing(monkeypatch):
    seen = {}
    monkeypatch.setattr(nonlinear_ica.ica, "fit", lambda x, u, **options: seen.update(options))
    chosen = settings(STUDY, dict(starts=16, steps=100))
    nonlinear_ica.FLOWS["deep"](np.zeros((80, 2)), np.zeros(80, int), 3, chosen)
    assert seen["num_layers"] == 6 and seen["stages"] == ((4, 100), (1, 400))


def test_the_deeper_flow_ends_in_large_batches_at_small_rates(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        nonlinear_ica, "fit_starts", lambda builds, x, u, **rest: seen.update(builds=builds, **rest)
    )
    chosen = settings(STUDY, dict(starts=16, steps=100))
    nonlinear_ica.FLOWS["deeper"](np.zeros((80, 2)), np.zeros(80, int), 2, chosen)
    first, longer, last = seen["stages"]
    assert (first.starts, longer.starts, last.starts) == (4, 1, 1)
    assert longer.steps == 2 * first.steps == 200 and longer.batch_size == first.batch_size
    assert last.batch_size == 5 * first.batch_size and last.rates < first.rates
    flow = seen["builds"][0](nnx.Rngs(0))
    assert sum(type(layer).__name__ == "Dense" for layer in flow.transform.transforms) == 6
