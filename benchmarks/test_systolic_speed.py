"""Speed of systolic arrays: real operands through 256 x 256 elements (aim: under 1 s), and the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from chips.systolic.array import Dataflow, SystolicArray


@pytest.mark.parametrize("dataflow", ["weight", "output", "input"])
def test_256_cubed(benchmark: BenchmarkFixture, dataflow: Dataflow) -> None:
    random = np.random.default_rng(0)
    a, b = (random.integers(-128, 128, (256, 256)).astype(np.int8) for _ in range(2))
    run = benchmark.pedantic(SystolicArray(256, 256, dataflow).run, (a, b), rounds=3)
    np.testing.assert_array_equal(run.product, a.astype(np.int32) @ b.astype(np.int32))


def test_closed_form_of_an_llm_matrix(benchmark: BenchmarkFixture) -> None:
    assert benchmark(SystolicArray(256, 256).cycles, 8192, 8192, 28672) > 0
