"""A server under load: what its iterations cost to price, and how many of them a second of one core plays."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scenarios.point import make_point
from scenarios.serving import server
from scenarios.serving.outcome import Served
from scenarios.serving.server import serving_times


def served(framework: str) -> Served:
    """640 requests of 64 clients; vLLM cuts prompts into chunks, so that its iterations differ most."""
    point = make_point("llama-3.1-8b", "h100", 2, framework=framework)
    return serving_times(point, input_tokens=1000, output_tokens=200, concurrency=64, requests=640)


@pytest.mark.parametrize("framework", ["vllm", "trtllm"])
def test_first_load(benchmark: BenchmarkFixture, framework: str) -> None:
    """Every different iteration priced, kernels as well where no load before had them."""
    benchmark.pedantic(lambda: served(framework), setup=server._iteration.cache_clear, rounds=5)


def test_the_next_load(benchmark: BenchmarkFixture) -> None:
    """Iterations that are known: the scheduler alone."""
    served("vllm")
    iterations = sum(len(engine.stretches) for engine in benchmark(served, "vllm").engines)
    benchmark.extra_info["iterations_per_s"] = iterations / benchmark.stats.stats.min
