import json

from flax import nnx
import jax
import numpy as np
import optax
import pytest

from flowzoo.benchmarks import gradient_cost, timing


def test_methods_take_the_gradients_they_are_named_for(x64):
    gradients = {}
    for method in gradient_cost.METHODS:
        steps = gradient_cost.Steps(dim=4, batch_size=5, num_layers=2)
        program = steps.compile(method)
        factors = "getrf" in program.as_text()
        assert factors == (method in gradient_cost.CUBIC)
        steps.run(program, 1)
        mean = nnx.to_pure_dict(optax.tree.get(steps.state, "mu"))
        gradients[method] = [np.asarray(leaf) / 0.1 for leaf in jax.tree.leaves(mean)]
    same = {"optax": "fused", "inverse": "ordinary", "jacobian": "ordinary"}
    for method, reference in same.items():
        for a, b in zip(gradients[method], gradients[reference], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    for method, other in [("fused", "ordinary"), ("backprop", "ordinary"), ("backprop", "fused")]:
        assert not np.allclose(gradients[method][-1], gradients[other][-1], rtol=1e-3)


def test_table_files_and_methods_left_out(tmp_path, capsys):
    gradient_cost.main(
        [257, 256, 10**4],
        [20],
        ["jacobian"],
        tmp_path,
        num_layers=1,
        repeats=1,
        max_gib=0.01,
        max_seconds=1e6,
    )
    text = capsys.readouterr().out
    report = json.loads((tmp_path / "gradient_cost.json").read_text())
    floors, jacobians = report["rows"][::2], report["rows"][1::2]
    assert [row["dim"] for row in floors] == [row["dim"] for row in jacobians] == [256, 257, 10**4]
    assert {row["method"] for row in jacobians} == {"jacobian"}
    for row in floors[:2]:
        assert row["ratio"] == [1, 1, 1] and row["seconds"][0] > 0 and row["peak_ratio"] == 1
    for row in jacobians[:2]:
        assert "GiB" in row["left_out"] and row["peak_bytes"] > 0.01 * 2**30
    assert "GiB" in floors[2]["left_out"] and "floor" in jacobians[2]["left_out"]
    assert "left out: needs" in text and "batch 20: backprop" in text
    assert (tmp_path / "gradient_cost.png").read_bytes().startswith(b"\x89PNG")


def test_a_method_that_would_take_too_long_is_left_out(monkeypatch):
    one_second = lambda programs, **_: {method: np.ones(1) for method in programs}  # noqa: E731
    monkeypatch.setattr(timing, "interleaved", one_second)
    small, large = gradient_cost.measure([8, 4], [1], ["jacobian"], num_layers=1, max_seconds=12)
    assert [cost.left_out for cost in (*small, *large)] == ["", "", "", "about 8 s for a step"]
    assert large[1].peak_bytes is None


def test_slope():
    dims = [16, 256, 512, 1024]
    assert gradient_cost.slope(dims, [1.0, 256**2, 512**2, 1024**2]) == pytest.approx(2)
    assert np.isnan(gradient_cost.slope([16, 256], [1.0, 2.0]))


def test_rounds_are_taken_in_turn_and_compared_within():
    calls = []
    programs = {name: lambda count, name=name: calls.append(name) for name in "ab"}
    times = timing.interleaved(programs, repeats=3, min_seconds=0)
    assert "".join(calls) == "aabb" + "ab" * 3
    assert [len(seconds) for seconds in times.values()] == [3, 3]
    assert timing.ratio(np.array([2.0, 40.0, 6.0]), np.array([1.0, 10.0])) == (3.0, 2.5, 3.5)
