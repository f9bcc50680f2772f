import numpy as np
import pytest

from flowzoo.benchmarks import elementwise


@pytest.mark.parametrize("name", ["spline", "divisive normalization"])
def test_every_program_runs(name):
    make = elementwise.maps(3, 4)[name]
    timed = elementwise.programs(make, np.zeros((2, 3)), layers=2)
    assert tuple(timed) == elementwise.WHAT
    for program in timed.values():
        program(1)
