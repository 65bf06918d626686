"""How fast matrix products are priced: 100,000 shapes at once, and one shape as a strategy asks for it."""

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from chips.kernels.matmul.price import price_matmul
from chips.spec import Gpu, load_gpu


def h100() -> Gpu:
    return load_gpu("h100")


def test_a_hundred_thousand_shapes(benchmark: BenchmarkFixture) -> None:
    m, n, k = np.ceil(2.0 ** np.random.default_rng(0).uniform(0, 16, (3, 100_000)))
    price = benchmark.pedantic(price_matmul, (h100(), m, n, k), rounds=2)
    assert price.seconds.shape == m.shape


def test_one_shape(benchmark: BenchmarkFixture) -> None:
    price = benchmark(price_matmul, h100(), 16, 4096, 4096)
    assert price.seconds > 0
