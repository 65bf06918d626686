"""Points of a scenario priced at once, from Python."""

from __future__ import annotations

from scenarios.sweeps.run import run
from scenarios.sweeps.scenario_file import load_scenario, points_of


def test_every_point_is_a_row_and_progress_ends_with_all() -> None:
    heard: list[tuple[int, int, int]] = []
    points = points_of(load_scenario("training"))
    rows = run(points, lambda *told: heard.append(told))
    assert list(rows["chip"]) == [point["chip"] for point in points]
    assert heard[0] == (len(points), 0, 0)
    assert heard[-1] == (len(points), len(points), len(points))
