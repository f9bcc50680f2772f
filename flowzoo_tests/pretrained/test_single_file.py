from flax import nnx
import jax
import numpy as np
import pytest

import flowzoo
from flowzoo import bases, transforms
from flowzoo.context import Features, Labels
from flowzoo.numerics.named_arrays import to_arrays
from flowzoo.raw_flow import RawFlow
from flowzoo_tests.perturb import perturbed

PACKAGED = [entry.name for entry in flowzoo.list_pretrained()]


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    one, other = to_arrays(nnx.state(one)), to_arrays(nnx.state(other))
    assert one.keys() == other.keys()
    for name, a in one.items():
        assert a.dtype == other[name].dtype and a.shape == other[name].shape, name
        np.testing.assert_array_equal(np.asarray(a), np.asarray(other[name]), err_msg=name)


def by_hand():
    chain = transforms.Chain([transforms.Dense(3, rngs=nnx.Rngs(0)), transforms.TanhMix((3,))])
    return flowzoo.Flow(bases.StandardNormal((3,)), chain)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_models_come_back_bit_for_bit(name, tmp_path):
    model = flowzoo.load_pretrained(name)
    flowzoo.save(model, tmp_path / "model.safetensors")
    loaded = flowzoo.load_pretrained(tmp_path / "model.safetensors")
    assert_same(loaded, model)
    assert loaded.card == model.card


@pytest.mark.parametrize(
    ("model", "context"),
    [
        ({"name": "maf", "hidden_sizes": (8,), "num_layers": 2}, None),
        ({"name": "maf", "hidden_sizes": [8], "degrees": "random"}, Features(2)),
        ({"name": "made_mog", "hidden_sizes": (8,), "standardize": True}, Labels(3)),
    ],
)
def test_flows_of_recipes_come_back(model, context, tmp_path):
    flow = perturbed(flowzoo.build(model, (3,), context=context, rngs=nnx.Rngs(5)))
    flowzoo.save(flow, tmp_path / "flow")
    assert_same(flowzoo.load(tmp_path / "flow"), flow)
    assert [path.name for path in tmp_path.iterdir()] == ["flow"]


def test_what_fit_returns_comes_back(tmp_path):
    data = np.random.default_rng(0).normal(size=(100, 2))
    flow = flowzoo.fit(data, num_epochs=1)
    flowzoo.save(flow, tmp_path / "flow")
    assert_same(flowzoo.load(tmp_path / "flow"), flow)
    flowzoo.save(flow.flow, tmp_path / "inner")
    assert_same(flowzoo.load(tmp_path / "inner"), flow.flow)


def test_maps_given_as_code_need_a_flow_alike(tmp_path):
    def build():
        model = {"name": "fully_connected_learned", "inner": transforms.RationalQuadraticSpline}
        return flowzoo.build(model, (2,), rngs=0)

    flow = perturbed(build())
    flowzoo.save(flow, tmp_path / "flow")
    assert_same(flowzoo.load(tmp_path / "flow", like=build()), flow)
    with pytest.raises(ValueError, match="pass like="):
        flowzoo.load(tmp_path / "flow")


def test_flows_put_together_by_hand_need_one_alike(tmp_path):
    flow = perturbed(by_hand())
    flowzoo.save(flow, tmp_path / "flow")
    assert_same(flowzoo.load(tmp_path / "flow", like=by_hand()), flow)
    with pytest.raises(ValueError, match="no recipe built.*pass like="):
        flowzoo.load(tmp_path / "flow")
    other = flowzoo.build({"name": "gaussian"}, (3,), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="do not belong to this model"):
        flowzoo.load(tmp_path / "flow", like=other)


def test_a_preprocessing_is_saved_with_its_flow(tmp_path):
    flow = flowzoo.build({"name": "gaussian"}, (3,), rngs=nnx.Rngs(0))
    raw = RawFlow(flow, transforms.Affine((3,), shift=np.arange(3.0), scale=np.full(3, 2.0)))
    flowzoo.save(raw, tmp_path / "raw")
    loaded = flowzoo.load(tmp_path / "raw")
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(loaded.log_prob(x), raw.log_prob(x))


def test_flipped_bits_are_refused(tmp_path):
    path = tmp_path / "flow"
    flowzoo.save(flowzoo.build({"name": "gaussian"}, (3,), rngs=nnx.Rngs(0)), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(8 * len(whole), 500, replace=False):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError):
            flowzoo.load(path)
    path.write_bytes(whole)
    flowzoo.load(path)


def test_what_is_no_saved_flow_is_refused_in_sentences(tmp_path):
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError, match="not a file"):
        flowzoo.load(tmp_path / "none")
    save_file({"a": np.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="not written by flowzoo"):
        flowzoo.load(tmp_path / "foreign")
    (tmp_path / "text").write_text("a long enough text to be read as a header")
    with pytest.raises(ValueError, match="not a safetensors file, or was damaged"):
        flowzoo.load(tmp_path / "text")
    with pytest.raises(ValueError, match="save got a dict"):
        flowzoo.save({}, tmp_path / "dict")
