"""Records of decoders on chips, asked from Python."""

from __future__ import annotations

import pytest

from scenarios.anatomy.layers_bandwidth import bandwidth_over_layers
from scenarios.anatomy.placed_kernels import largest_decoders, limit_lines, mesh_picture, place_points
from scenarios.errors import ScenarioError
from scenarios.point import make_point


def test_a_decoder_in_space_has_a_record_a_kernel_and_one_a_stage():
    placed = place_points([make_point("llama-2-7b", "sn40l", 8)])
    ((name, placement),) = placed.placements
    assert name == "llama-2-7b decode on sn40l x8"
    assert len(placed.records) == len(placement.sections)
    stages = placed.records[0]["stage_records"]
    assert [stage["stage"] for stage in stages] == [stage.name for stage in placement.sections[0].program.stages]
    picture = mesh_picture(name, placement, placement.sections[0])
    assert picture.title.startswith(name)


def test_on_a_gpu_there_are_kernels_of_clusters():
    placed = place_points([make_point("llama-2-7b", "h100", 1)])
    assert placed.records == placed.placements == []
    assert {record["chip"] for record in placed.on_clusters} == {"h100"}


def test_limits_become_a_line_for_each_mapping():
    records = largest_decoders(["sn40l"], [1], [2048], phase="decode")
    assert [record["batch"] for record in records] == [1, 64, 1024, 8192]
    (lines,) = limit_lines(records).values()
    assert set(lines) <= {"sn40l x1, weight stream", "sn40l x1, token stream"}
    with pytest.raises(ScenarioError, match="lays no kernels out in space"):
        largest_decoders(["h100"], [1], [2048])
    with pytest.raises(ScenarioError, match="it is decode or prefill"):
        largest_decoders(["sn40l"], [1], [2048], phase="train")


def test_a_window_shows_as_many_layers_as_asked_for():
    record, window = bandwidth_over_layers(make_point("llama-3.2-1b", "sn40l", 1, strategy="kernel_loop"), 3)
    assert len(window.boundaries_ps) == 2
    assert 0 < record["bandwidth_fraction"] <= record["busy_fraction"] <= 1
    with pytest.raises(ScenarioError, match="--layers is 0"):
        bandwidth_over_layers(make_point("llama-3.2-1b", "sn40l", 1, strategy="kernel_loop"), 0)
