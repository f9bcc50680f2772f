"""The results of a run on a mixture hold the correlation with the true sources."""

from flax import nnx
import numpy as np
import pytest

import flowzoo
from flowzoo import Flow, bases, transforms
from flowzoo.context import Labels
from flowzoo.data import Dataset, Split, load_dataset
from flowzoo.data.mixing import Mixture, linear, segments
from flowzoo.reporting.results import describe
from flowzoo.training.evaluation import test_results as results_of
from flowzoo.transforms.elementwise.affine import Affine


def dataset(data: Mixture) -> Dataset:
    split = Split(data.x, data.u, data.sources)
    classes = None if data.u is None else int(data.u.max()) + 1
    return Dataset(
        name="ica/linear",
        train=split,
        validation=split,
        test=split,
        preprocessing=Affine(data.x.shape[1:]),
        num_classes=classes,
    )


def inverse(matrix: np.ndarray) -> transforms.Dense:
    dense = transforms.Dense(len(matrix), rngs=nnx.Rngs(0))
    dense.weight[...] = np.linalg.inv(matrix)
    return dense


def test_mcc_is_one_for_the_inverse_of_the_mixing():
    data = linear(0, dim=3, rows=200)
    right = Flow(bases.HyperbolicSecant((3,)), inverse(data.jacobian))
    assert results_of(right, dataset(data))["mcc"] == pytest.approx(1, abs=1e-5)
    wrong = Flow(bases.HyperbolicSecant((3,)), transforms.Dense(3, rngs=nnx.Rngs(1)))
    assert results_of(wrong, dataset(data))["mcc"] < 0.95


def test_the_transform_sees_u_if_it_takes_one():
    """As that of an ordinary conditional flow, which an unmixing flow is not."""
    data = segments(0, dim=2, num_segments=3, per_segment=60, layers=1)
    model = {"name": "made", "hidden_sizes": (8,)}
    flow = flowzoo.build(model, (2,), context=Labels(3), rngs=nnx.Rngs(0))
    assert 0 < results_of(flow, dataset(data))["mcc"] <= 1


def test_data_sets_carry_their_sources():
    data = load_dataset("ica/linear-3")
    assert data.test.sources.shape == data.test.x.shape == (500, 10)
    expected = linear(3)
    rows = {tuple(row) for row in expected.sources.round(4)}
    assert all(tuple(row) in rows for row in data.test.sources.round(4))
    assert load_dataset("ica/gin").test.sources.shape == (500, 2)
    assert data.first(7).train.sources.shape == (7, 10)


def test_published_correlations_are_printed_beside():
    results = dict(
        dataset="ica/iflow-7",
        name="ica/iflow",
        title="a flow",
        log_likelihood_nats=1.0,
        two_standard_errors=0.1,
        mcc=0.98765,
        data_note=None,
        published=[],
    )
    words = describe(results)
    assert "true sources: 0.9877" in words and "iFlow: 0.718 ± 0.067" in words
