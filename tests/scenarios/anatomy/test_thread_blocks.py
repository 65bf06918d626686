"""What a thread block cluster holds: runs of stages in its shared memory, and what passing tensors inside costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chips.placement import ClusterKernel, FusedProgram, cluster_kernels
from chips.spec import Gpu, load_chip
from scenarios.strategies.dataflow.fused_program import token_tile
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard

H100 = load_chip("h100")
assert isinstance(H100, Gpu)


def tile(rows: int, model: str = "llama-2-7b", count: int = 1) -> FusedProgram:
    loaded = load_model(model)
    return token_tile(H100, forward(loaded, shard(loaded, count), 1, 4096, 4096).decoders[0], rows)


def names(kernels: list[ClusterKernel]) -> list[str]:
    return [stage.name for kernel in kernels for stage in kernel.program.stages]


@settings(max_examples=20)
@given(st.integers(1, 128), st.sampled_from([2, 4, 8, 16]))
def test_kernels_cover_all_stages_in_order_and_hold_what_they_say(rows: int, units: int) -> None:
    program = tile(rows)
    kernels = cluster_kernels(program, H100, units)
    assert names(kernels) == [stage.name for stage in program.stages]
    for kernel in kernels:
        assert kernel.fits == (kernel.needed_bytes <= units * H100.on_chip.shared_bytes)
        assert kernel.fits or len(kernel.program.stages) == 1
        assert kernel.exchange_seconds >= 0


@given(st.integers(1, 127))
@settings(max_examples=20)
def test_more_tokens_never_need_fewer_kernels(rows: int) -> None:
    assert len(cluster_kernels(tile(rows), H100)) <= len(cluster_kernels(tile(rows + 1), H100))


def test_a_small_tile_of_a_decoder_fits_one_cluster_and_a_large_one_does_not() -> None:
    assert len(cluster_kernels(tile(16), H100)) == 1
    assert len(cluster_kernels(tile(64), H100)) > 3


def test_an_exchange_between_chips_ends_a_kernel() -> None:
    kernels = cluster_kernels(tile(1, count=8), H100)
    assert [kernel.program.stages[-1].name for kernel in kernels] == ["attention AllReduce", "MLP AllReduce"]


def test_one_streaming_multiprocessor_exchanges_nothing() -> None:
    assert all(kernel.exchange_seconds == 0 for kernel in cluster_kernels(tile(1, "llama-3.2-1b"), H100, 1))


def test_exchange_time_is_that_of_the_bytes_over_the_network() -> None:
    """Between two products, everyone reads what the seven others have made."""
    program = tile(8)
    at = next(i for i, stage in enumerate(program.stages) if stage.name == "SiLU-multiply")
    pair = replace(program.part(at, at + 2), memory_bytes=0.0)
    (kernel,) = cluster_kernels(pair, H100)
    read = 8 * 11008 * 2 * 7 / 8
    clock = H100.compute.clock_hz
    expected = read / (H100.on_chip.cluster_bytes_per_clock * clock) + H100.on_chip.cluster_latency_cycles / clock
    assert kernel.exchange_seconds == pytest.approx(expected)
