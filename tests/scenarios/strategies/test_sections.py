"""A decoder that one kernel cannot hold runs in sections: as many launches as placement finds kernels."""

from __future__ import annotations

from collections import Counter

import pytest

from loopline import simulate
from scenarios.anatomy.placement import place_decoder
from scenarios.assignment import assign
from scenarios.point import make_point
from scenarios.running import trace_passes


def tasks(point):
    return [event for _, events in trace_passes(assign(point)) for event in events]


@pytest.mark.parametrize(
    ("model", "count", "context", "expected"),
    [("llama-2-13b", 1, 4096, 2), ("llama-2-13b", 2, 4096, 1), ("llama-3.1-8b", 1, 32768, 2)],
)
def test_a_layer_is_launched_once_for_each_kernel_that_placement_finds(
    model: str, count: int, context: int, expected: int
) -> None:
    point = make_point(model, "sn40l", count, phase="prefill", context=context, strategy="fused_decoder")
    kernels = len(place_decoder(point).sections)
    assert kernels == expected
    launches = Counter(event.name.rpartition("/")[2] for event in tasks(point))["kernel launch"]
    assert launches == 2 + point.model.layers * kernels  # before, every layer, after


def test_a_section_holds_its_weights_once_for_all_tokens() -> None:
    point = make_point("llama-2-13b", "sn40l", 1, phase="prefill", context=4096, strategy="fused_decoder")
    loads = Counter(event.name.rpartition("/")[2] for event in tasks(point))["weights"]
    assert loads == 2 * point.model.layers


def test_sections_cost_less_than_stages_in_turn_and_more_than_one_kernel() -> None:
    def seconds(count: int, strategy: str) -> float:
        rows = simulate("llama-2-13b", "sn40l", count, phase="prefill", context=4096, strategy=strategy)
        return float(rows["seconds"].iloc[0])

    # Two chips hold a decoder in one kernel each: one chip takes more than twice as long as they, but not much.
    assert 1.6 < seconds(1, "fused_decoder") / seconds(2, "fused_decoder") < 2.4
    # What runs in sections is not looped.
    assert seconds(1, "kernel_loop") == seconds(1, "fused_decoder")
