"""A step may have several kinds of decoder: each runs its layers, one kind after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chips.clock.timeline import Timeline
from chips.spec import load_chip
from cluster import Cluster
from scenarios.framework import frameworks
from scenarios.strategies import STRATEGIES, run_strategy
from scenarios.workload.decoder import forward
from scenarios.workload.model import load_model, shard
from scenarios.workload.operators import Step

MODEL = load_model("llama-3.2-1b")
WHOLE = forward(MODEL, shard(MODEL, 4), 1, 1, 4096)
BEFORE, DECODER, AFTER = WHOLE.segments


def taken(chip, strategy, *segments):
    clock = Timeline()
    launch = "graph" if chip == "h100" else "hardware"
    cluster = Cluster(load_chip(chip), 4)
    return run_strategy(clock, cluster, strategy, Step(segments), launch, frameworks()["tensorrt-llm-2024"])


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("chip", ["h100", "sn40l"])
def test_layers_in_two_segments_take_as_long_as_in_one_but_for_another_program(chip, strategy):
    parts = (replace(DECODER, layers=layers) for layers in (5, DECODER.layers - 5))
    one, two = taken(chip, strategy, *WHOLE.segments), taken(chip, strategy, BEFORE, *parts, AFTER)
    if chip == "sn40l" and STRATEGIES[strategy]["dataflow"].fuses:
        assert one.ps < two.ps < one.ps + 100_000_000  # each kind of decoder is loaded as a program of its own
    else:
        assert one.parts == two.parts


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("chip", ["h100", "sn40l"])
def test_another_kind_of_decoder_takes_its_own_time(chip, strategy):
    shorter = replace(DECODER, layers=2, operators=DECODER.operators[:4])
    assert taken(chip, strategy, BEFORE, shorter, DECODER, AFTER).ps > taken(chip, strategy, *WHOLE.segments).ps


def test_a_step_adds_up_over_all_kinds_of_decoder():
    step = Step((BEFORE, DECODER, replace(DECODER, layers=3), AFTER))
    flops = sum(float(operator.flops) for operator in DECODER.operators)
    assert step.total(lambda operator: operator.flops) == WHOLE.total(lambda operator: operator.flops) + 3 * flops
