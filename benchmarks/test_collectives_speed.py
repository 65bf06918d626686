"""How long pricing collectives takes: a library's choice, a large ring with unequal ready times, 100,000 chips."""

from __future__ import annotations

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from chips.spec import load_chip
from collectives.algorithms import hierarchical, ring
from collectives.library import price_collective
from collectives.price import price
from collectives.topology import Level, Topology


def ready(ranks: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 10**9, ranks)


def test_library_eight_ranks(benchmark: BenchmarkFixture) -> None:
    benchmark(price_collective, load_chip("h100"), "all_reduce", 8, 8192)


def test_schedule_eight_ranks(benchmark: BenchmarkFixture) -> None:
    benchmark(price, ring(8), Topology((Level("switch", 8, 450e9, 1e-6),)), 8192)


def test_ring_1024_ranks_unequal_ready_times(benchmark: BenchmarkFixture) -> None:
    topology = Topology((Level("ring", 1024, 50e9, 5e-7),))
    benchmark(price, ring(1024), topology, 2**20, ready_ps=ready(1024))


def test_hierarchical_100000_ranks_unequal_ready_times(benchmark: BenchmarkFixture) -> None:
    topology = Topology((Level("switch", 8, 450e9, 1e-6), Level("switch", 12_500, 50e9, 3e-6)))
    benchmark(price, hierarchical(100_000, 8), topology, 2**30, ready_ps=ready(100_000))
