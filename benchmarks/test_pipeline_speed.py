"""How fast a metapipeline's exact total is found, whatever its iterations. Run with ``pytest benchmarks``."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from chips.pipeline.metapipeline import Buffer, Metapipeline, Stage

STAGES = (Stage("load", 700), Stage("multiply", 900), Stage("activate", 450), Stage("store", 300))
FORKED = (
    Buffer("load", "multiply"),
    Buffer("load", "activate"),
    Buffer("multiply", "store"),
    Buffer("activate", "store"),
)


def test_million_iterations_in_a_row(benchmark: BenchmarkFixture) -> None:
    total = benchmark(lambda: Metapipeline("row", 1_000_000, STAGES).total_ps)
    assert total == 2350 + 999_999 * 900


def test_million_iterations_with_a_fork_and_a_join(benchmark: BenchmarkFixture) -> None:
    total = benchmark(lambda: Metapipeline("fork", 1_000_000, STAGES, FORKED).total_ps)
    assert total == 1900 + 999_999 * 900
