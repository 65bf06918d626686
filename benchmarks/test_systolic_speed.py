"""Speed of systolic arrays: values of a 256-cube, watched clock by clock and unwatched, and the closed form."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from chips.systolic.array import Dataflow, SystolicArray, Watch


@pytest.mark.parametrize("watch", [None, lambda cycle: None], ids=["unwatched", "watched"])
@pytest.mark.parametrize("side", [32, 256])
@pytest.mark.parametrize("dataflow", ["weight", "output", "input"])
def test_256_cubed(benchmark: BenchmarkFixture, dataflow: Dataflow, side: int, watch: Watch | None) -> None:
    random = np.random.default_rng(0)
    a, b = (random.integers(-128, 128, (256, 256)).astype(np.int8) for _ in range(2))
    run = benchmark.pedantic(SystolicArray(side, side, dataflow).run, (a, b, watch), rounds=3)
    np.testing.assert_array_equal(run.product, a.astype(np.int32) @ b.astype(np.int32))


def test_closed_form_of_an_llm_matrix(benchmark: BenchmarkFixture) -> None:
    assert benchmark(SystolicArray(256, 256).cycles, 8192, 8192, 28672) > 0
