"""How long pricing and verifying collectives takes: a library's choice, large rings with stragglers, 100,000 chips."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from chips.spec import load_chip
from collectives.algorithms import ALGORITHMS, hierarchical, ring
from collectives.libraries.choice import price_collective
from collectives.price import price
from collectives.topology import Level, Topology, fat_tree, switched, torus
from collectives.verify import execute, verify

POD = Topology((Level("switch", 8, 450e9, 1e-6), Level("switch", 12_500, 50e9, 3e-6)))


def ready(ranks: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 10**9, ranks)


def test_library_eight_ranks(benchmark: BenchmarkFixture) -> None:
    benchmark(price_collective, load_chip("h100"), "all_reduce", 8, 8192)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_eight_ranks(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(price, ALGORITHMS[name](8), switched(8, 450e9, 1e-6), 8192)


@pytest.mark.parametrize("ranks", [1024, 32_768])
def test_ring_on_a_fat_tree_unequal_ready_times(benchmark: BenchmarkFixture, ranks: int) -> None:
    benchmark(price, ring(ranks), fat_tree((32, ranks // 32), 50e9, 5e-7), 2**20, ready_ps=ready(ranks))


def test_two_shot_1024_ranks_unequal_ready_times(benchmark: BenchmarkFixture) -> None:
    benchmark(price, ALGORITHMS["two_shot"](1024), switched(1024, 450e9, 1e-6), 2**20, ready_ps=ready(1024))


@pytest.mark.parametrize("name", ["bidirectional_ring", "double_binary_tree", "ring", "swing", "torus_2d"])
def test_1024_ranks_unequal_ready_times(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(price, ALGORITHMS[name](1024), torus((1024,), 50e9, 5e-7), 2**20, ready_ps=ready(1024))


def test_hierarchical_100000_ranks_unequal_ready_times(benchmark: BenchmarkFixture) -> None:
    benchmark(price, hierarchical(100_000, 8), POD, 2**30, ready_ps=ready(100_000))


def test_hierarchical_100000_ranks_from_nothing(benchmark: BenchmarkFixture) -> None:
    """The schedule made and routed anew each time: what a first question costs."""

    def first() -> None:
        price(hierarchical.__wrapped__(100_000, 8), POD, 2**30)  # type: ignore[attr-defined]

    benchmark(first)


@pytest.mark.parametrize("name", ["double_binary_tree", "halving_doubling", "ring", "two_shot"])
def test_verify_64_ranks(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark(verify, ALGORITHMS[name](64))


def test_verify_ring_512_ranks(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(verify, (ring(512),), rounds=2)


def test_execute_ring_64_ranks_1_mib(benchmark: BenchmarkFixture) -> None:
    benchmark(execute, ring(64), np.ones((64, 2**18), dtype=np.float32))
