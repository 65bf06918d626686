"""Speed of placement: one decoder laid out whole, whether one fits, and the fewest kernels of one that does not."""

from __future__ import annotations

import pytest

from chips.placement import fits, place
from chips.spec import load_chip
from cluster import Cluster
from scenarios.anatomy.placement import place_decoder
from scenarios.point import make_point
from scenarios.strategies.dataflow.fused_program import token_stream
from scenarios.strategies.dataflow.stages import DataflowGroup
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard


def program(model: str, count: int):
    chip, loaded = load_chip("sn40l"), load_model(model)
    step = forward(loaded, shard(loaded, count), 1, 4096, 4096, "bf16")
    return token_stream(DataflowGroup(chip, Cluster(chip, count)), step.decoders[0]), chip


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_placing_a_llama_2_7b_decoder(benchmark, phase):
    """Expected under 2 s; both mappings in prefill."""
    point = make_point("llama-2-7b", "sn40l", 8, phase=phase)
    assert benchmark(place_decoder, point).fits


def test_whether_a_decoder_fits(benchmark):
    """Expected under 1 ms: the strategies ask it of every point."""
    assert benchmark(fits, *program("llama-2-7b", 8))


def test_the_kernels_of_a_decoder_that_does_not_fit(benchmark):
    """Llama-3.1-405B on one chip, 14 kernels, each placed: expected under 5 s."""
    placed = benchmark.pedantic(place, args=program("llama-3.1-405b", 1), rounds=3)
    assert len(placed.sections) == 14
