"""What a kernel boundary costs, by its parts: their order, and published runs beside them."""

from __future__ import annotations

import pytest

from results.words import BOUNDARY_PARTS
from scenarios.anatomy.boundary import MODES, boundaries, with_boundaries
from scenarios.errors import DoesNotFit, ScenarioError
from scenarios.evidence.published.beside import published_beside
from scenarios.point import make_point
from scenarios.pricing import grid, price


@pytest.mark.parametrize(("chip", "count"), [("h100", 1), ("h100", 8), ("b200", 2), ("a100", 4), ("sn40l", 8)])
def test_removing_a_part_saves_something_and_removing_all_of_them_most(chip: str, count: int) -> None:
    records = boundaries("llama-3.1-8b", chip, count)
    kind = "dataflow" if chip == "sn40l" else "gpu"
    assert [record["mode"] for record in records] == [mode.name for mode in MODES[kind]]
    for record in records:
        if "reason" in record:
            continue
        numbers = {
            name: float(str(value))
            for name, value in record.items()
            if name not in ("mode", "strategy", "launch", "framework")
        }
        saved = [numbers[f"{part}_saves_s"] for part in BOUNDARY_PARTS]
        assert min(saved) >= 0
        assert numbers["without"] <= numbers["seconds"] - max(saved) + 1e-12
        taken = sum(numbers[f"{part}_us"] for part in BOUNDARY_PARTS) * 1e-6 * numbers["boundaries"]
        assert taken <= numbers["seconds"]


@pytest.mark.parametrize(("chip", "count", "phase"), [("h100", 8, "decode"), ("sn40l", 1, "prefill")])
def test_boundaries_cost_what_a_row_takes_longer_than_the_same_work_without_any(
    chip: str, count: int, phase: str
) -> None:
    points = list(grid("llama-3.2-1b", chip, count, context=512, phase=phase))
    frame = with_boundaries(price(points).frame(), points)
    assert frame["boundary_s"].between(0, frame["seconds"] - frame["bound_s"]).all()
    # What is left is the same work: of two rows the slower one pays more for boundaries, by just as much.
    left = frame["seconds"] - frame["boundary_s"]
    assert left.max() == pytest.approx(left.min(), rel=1e-6)
    assert frame["launches"].is_monotonic_decreasing
    assert frame["launches"].iloc[-1] < 5


def test_what_is_several_passes_or_does_not_fit_has_no_cost_of_boundaries() -> None:
    points = [make_point("llama-3.1-405b", "h100", 1), make_point("llama-3.2-1b", "h100", 1, phase="train")]
    frame = with_boundaries(price(points).frame(), points)
    assert frame["boundary_s"].isna().all()


def test_a_counter_a_tile_loses_to_a_graph_and_dependent_launches_come_close_to_a_loop() -> None:
    found = {
        str(record["mode"]): float(str(record["seconds"])) for record in boundaries("llama-3.1-8b", "h100", context=512)
    }
    assert 0.28 < found["graph"] / found["persistent, tile"] < 0.5
    assert 1.0 < found["pdl"] / found["persistent, hand"] < 1.1
    assert found["persistent, compiled"] > found["pdl"]


def test_the_measured_ladder_is_predicted_within_its_reach() -> None:
    ladder = published_beside("llama-3.2-1b", "h100", "decode")
    assert all(abs(float(str(run["ratio"])) - 1) < 0.05 for run in ladder)
    one, pdl, graph = (float(str(run["ratio"])) for run in ladder[:3])
    assert abs(pdl / graph - 1) < 0.03
    assert abs(one / pdl - 1) < 0.03
    loop, other = float(str(ladder[4]["ratio"])), float(str(ladder[5]["ratio"]))
    assert abs(loop / other - 1) < 0.03
    compiled = [*published_beside("qwen3-8b", "h800", "decode"), *published_beside("qwen3-8b", "a100", "decode")]
    assert all(abs(float(str(run["ratio"])) - 1) < 0.12 for run in compiled)


def test_what_has_no_boundaries_to_count_is_told() -> None:
    with pytest.raises(ScenarioError, match="runs no decoders"):
        boundaries("llama-3.1-8b", "tpu-v1")
    with pytest.raises(ScenarioError, match="several passes"):
        boundaries("llama-3.1-8b", "h100", phase="request")
    with pytest.raises(DoesNotFit):
        boundaries("llama-3.1-405b", "h100")
