"""How many kernels a decoder has: counted against what the clock ran."""

from __future__ import annotations

import pytest

from loopline import compare
from scenarios.assignment import assign
from scenarios.point import make_point
from scenarios.pricing import FEW, grid, price
from scenarios.running import trace_passes
from scenarios.workload.model import load_model

MODEL = "llama-3.2-1b"
COLUMNS = ["decoder_kernels", "decoder_launches", "backward_kernels", "backward_launches"]


@pytest.mark.parametrize("chip", ["h100", "sn40l"])
def test_rows_say_how_many_kernels_a_decoder_has(chip):
    frame = compare("llama-3.1-8b", chip, 8, phase="train", batch=8, context=1024).set_index("strategy")[COLUMNS]
    apart, fused, looped = (frame.loc[name] for name in ("per_operator", "fused_decoder", "kernel_loop"))
    assert apart["decoder_kernels"] >= 10
    assert apart["backward_kernels"] > apart["decoder_kernels"]
    assert (apart[COLUMNS[::2]].to_numpy() == apart[COLUMNS[1::2]].to_numpy()).all()
    assert (fused["decoder_kernels"], fused["decoder_launches"]) == (1, 1.0)
    assert looped.tolist() == [1, 1 / 32, 1, 1 / 32]


def ran(chip, strategy, phase):
    """What of a trace is in the loop over layers, for each layer."""
    asked = {"phase": phase, "context": 512, "strategy": strategy, "launch": "graph"}
    ((_, events),) = trace_passes(assign(make_point(MODEL, chip, 1, **asked)))
    layers = load_model(MODEL).layers
    return [event for event in events if event.iterations], layers


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_launches_of_a_decoder_are_those_on_the_clock(phase):
    frame = compare(MODEL, ["h100", "sn40l"], 1, phase=phase, context=512, launch="graph").set_index(
        ["chip", "strategy"]
    )
    inside, layers = ran("h100", "per_operator", phase)
    kernels = len({event.name for event in inside if event.engine == "compute"})
    assert frame.loc[("h100", "per_operator"), "decoder_launches"] == kernels / layers
    for strategy, looped in (("per_operator", False), ("fused_decoder", False), ("kernel_loop", True)):
        inside, layers = ran("sn40l", strategy, phase)
        launches = sum(event.name.endswith("kernel launch") for event in inside)
        expected = 1 / layers if looped else launches / layers
        assert frame.loc[("sn40l", strategy), "decoder_launches"] == expected
        assert launches == 0 or not looped
    assert (frame["backward_kernels"] == 0).all()


def test_points_side_by_side_have_the_kernels_that_each_has_alone():
    shapes = [(batch, context) for batch in (1, 512) for context in range(96, 96 + FEW // 4)]
    points = [p for batch, context in shapes for p in grid(MODEL, "sn40l", 1, batch=batch, context=context)]
    together = price(points)
    assert len(points) > FEW
    fused = [number for number, point in enumerate(points) if point.strategy == "fused_decoder"]
    kernels = {number: price([points[number]]).record()["decoder_kernels"] for number in fused[::4]}
    assert {number: together.record(number)["decoder_kernels"] for number in kernels} == kernels
    assert len(set(kernels.values())) > 1


def test_a_request_has_the_kernels_of_its_prompt():
    asked = {"batch": 8, "launch": "hardware"}
    request = compare(MODEL, "sn40l", 1, phase="request", context=4096, output_tokens=4095, **asked)
    prompt = compare(MODEL, "sn40l", 1, phase="prefill", context=1, **asked)
    whole = compare(MODEL, "sn40l", 1, phase="prefill", context=4096, **asked)
    assert request[COLUMNS].equals(prompt[COLUMNS])
    assert not request[COLUMNS].equals(whole[COLUMNS])


def test_a_replica_has_the_kernels_of_its_share():
    replicas = compare(MODEL, "sn40l", 4, batch=512, context=128, parallel="tensor=1")
    share = compare(MODEL, "sn40l", 1, batch=128, context=128)
    whole = compare(MODEL, "sn40l", 1, batch=512, context=128)
    assert replicas[COLUMNS].equals(share[COLUMNS])
    assert not replicas[COLUMNS].equals(whole[COLUMNS])


@pytest.mark.parametrize("phase", ["decode", "train"])
def test_each_stage_launches_its_own_run_of_decoders(phase):
    layers = load_model(MODEL).layers
    staged = compare(MODEL, "sn40l", 3, strategy="kernel_loop", phase=phase, batch=3, parallel="pipeline=3")
    launches = staged[COLUMNS[1::2]].iloc[0]
    assert launches["decoder_launches"] == 3 / layers
    assert launches["backward_launches"] == (3 / layers if phase == "train" else 0)
