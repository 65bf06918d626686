"""Ranks: what it takes to start them, what a layer's exchanges take, and how much slower a rank's clock is than here.

Ray has one session for all; what starting that takes is a benchmark of its own.
"""

from __future__ import annotations

from functools import partial

import pytest
import ray
from rank_programs_timed import layers, nothing, pricing

from cluster import Executor, run_ranks
from scenarios.point import make_point
from scenarios.pricing import price

HIDDEN, LAYERS = 4096, 32


@pytest.fixture(scope="module")
def ray_session():
    ray.init(num_cpus=8, include_dashboard=False, configure_logging=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["mpi", "ray"])
def executor(request):
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return Executor(request.param)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_start_up(benchmark, executor, count):
    """From nothing to ranks that have met, and back to no process left."""
    benchmark.pedantic(partial(run_ranks, nothing, count=count, executor=executor), rounds=3, iterations=1)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_layer(benchmark, executor, count):
    """Two AllReduces of a token of 4096 values, each with a meeting of the clocks; the figure is in ``layer_us``."""
    seconds = benchmark.pedantic(
        partial(run_ranks, layers, LAYERS, HIDDEN, count=count, executor=executor), rounds=1, iterations=1
    )
    benchmark.extra_info["layer_us"] = round(max(seconds) * 1e6, 1)
    print(f"{executor.name} x{count}: {max(seconds) * 1e6:.0f} us a layer")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_point_on_ranks_against_here(benchmark, executor, count):
    """Decode of Llama 3.1 8B, looped: every layer's messages against a clock that leaps, in ``times_slower``."""
    point = make_point("llama-3.1-8b", "sn40l", count, strategy="kernel_loop")
    price([point])
    here = min(benchmark_seconds(partial(price, [point])) for _ in range(5))
    seconds = benchmark.pedantic(
        partial(run_ranks, pricing, [point] * 5, count=count, executor=executor), rounds=1, iterations=1
    )
    benchmark.extra_info["times_slower"] = round(max(seconds) / here, 1)
    print(f"{executor.name} x{count}: {max(seconds) * 1e3:.1f} ms a point, here {here * 1e3:.1f} ms")


def benchmark_seconds(run):
    """Seconds of one call."""
    from time import perf_counter

    began = perf_counter()
    run()
    return perf_counter() - began


def test_starting_ray(benchmark):
    """A session of Ray on this machine, with two actors, and its end."""
    if ray.is_initialized():
        ray.shutdown()
    benchmark.pedantic(partial(run_ranks, nothing, count=2, executor=Executor("ray")), rounds=2, iterations=1)
