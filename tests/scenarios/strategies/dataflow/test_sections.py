"""A decoder that one kernel cannot hold, or holds only with a long pipeline, runs in sections."""

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
    ("model", "count", "context", "fewest"),
    [("llama-2-13b", 1, 4096, 2), ("llama-2-13b", 2, 4096, 1), ("llama-3.1-8b", 1, 32768, 2)],
)
def test_a_layer_is_launched_no_less_often_than_placement_needs_kernels(
    model: str, count: int, context: int, fewest: int
) -> None:
    """More often where short pipelines fill and drain so much sooner that launches are worth it."""
    point = make_point(model, "sn40l", count, phase="prefill", context=context, strategy="fused_decoder")
    assert len(place_decoder(point).sections) == fewest
    launches = Counter(event.name.rpartition("/")[2] for event in tasks(point))["kernel launch"]
    assert launches >= 2 + point.model.layers * fewest  # before, every layer, after


def test_a_section_holds_its_weights_once_for_all_tokens() -> None:
    point = make_point("llama-2-13b", "sn40l", 1, phase="prefill", context=4096, strategy="fused_decoder")
    events = tasks(point)
    loads = [event for event in events if event.name.endswith("weights")]
    launches = Counter(event.name for event in events if "layer" in event.name)
    assert 2 * point.model.layers <= len(loads) <= sum(launches[name] for name in launches if "kernel launch" in name)


def test_sections_cost_less_than_stages_in_turn_and_more_than_one_kernel() -> None:
    def seconds(count: int, strategy: str) -> float:
        rows = simulate("llama-2-13b", "sn40l", count, phase="prefill", context=4096, strategy=strategy)
        return float(rows["seconds"].iloc[0])

    # Two chips hold a decoder in one kernel each: one chip takes about twice as long as they.
    assert 1.6 < seconds(1, "fused_decoder") / seconds(2, "fused_decoder") < 2.4
