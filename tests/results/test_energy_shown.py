"""Joules and money as they are shown: tables, bars, heat maps, fronts, and what a price makes of them."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest

from results.energy_table import print_energy, savings
from results.errors import SchemaError
from results.pictures.kinds import plot
from results.report import page_text
from results.units import format_joules
from scenarios.commands.main import main
from scenarios.cost import prices, with_cost
from scenarios.errors import ScenarioError
from scenarios.pricing import compare


@pytest.fixture(scope="module")
def frame():
    parts = [compare("llama-3.2-1b", ["h100", "sn40l"], [1, 2], batch=batch) for batch in (1, 8)]
    return pd.concat(parts, ignore_index=True)


def code_of(*words):
    """What the command line ends with."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code or 0


def test_joules_are_read_in_the_unit_that_suits():
    shown = [format_joules(joules) for joules in (2.5e6, 1234.0, 2.85, 0.0031, float("nan"))]
    assert shown == ["2.50 MJ", "1.23 kJ", "2.85 J", "3.10 mJ", "-"]


def test_the_table_tells_what_fusing_and_looping_save(frame):
    shown = io.StringIO()
    print_energy(frame, shown)
    for word in ("tokens", "a joule", "off-chip", "static", "fusing saves", "looping saves"):
        assert word in shown.getvalue()
    (line, *_) = savings(frame[frame["chip"] == "sn40l"].iloc[:3])
    fused, looped = frame[frame["chip"] == "sn40l"].iloc[1:3].to_dict("records")
    assert format_joules(fused["static_j"] - looped["static_j"]) in line


def test_money_is_chips_by_the_hour_and_electricity_by_the_kilowatt_hour(frame):
    rows = frame[frame["chip"] == "h100"]
    cost = with_cost(rows, dollars_per_chip_hour=3.6, dollars_per_kilowatt_hour=0.36)
    millions = rows["tokens_per_s"] * 1e-6
    np.testing.assert_allclose(cost["chip_cost"], rows["count"] * 1e-3 / millions)
    np.testing.assert_allclose(cost["energy_cost"], 1e-7 * rows["watts"] * rows["working"] / millions)
    np.testing.assert_allclose(cost["cost"], cost["chip_cost"] + cost["energy_cost"])
    assert (with_cost(rows)["cost"] > 0).all()
    assert with_cost(rows, dollars_per_chip_hour=0, dollars_per_kilowatt_hour=0)["cost"].eq(0).all()
    assert 0 < prices().kilowatt_hour < 1


def test_a_price_that_nobody_says_or_that_is_none_is_refused(frame):
    with pytest.raises(ScenarioError, match="an hour of sn40l is known; say it: --dollars-per-chip-hour"):
        with_cost(frame)
    with pytest.raises(ScenarioError, match="--dollars-per-chip-hour is -1"):
        with_cost(frame, dollars_per_chip_hour=-1)


def test_the_command_shows_joules_and_money(capsys):
    asked = ["compare", "llama-3.2-1b", "--chips", "h100", "--count", "1"]
    assert code_of(*asked, "--energy") == 0
    shown = capsys.readouterr().out
    assert "tokens" in shown
    assert "$" not in shown
    assert code_of(*asked, "--cost", "--dollars-per-chip-hour", "2", "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert all(record["cost"] == record["chip_cost"] + record["energy_cost"] for record in records)
    assert code_of(*asked, "--dollars-per-chip-hour", "2") != 0
    assert "give it too" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["breakdown", "heatmap", "pareto"])
def test_pictures_of_joules_say_so(frame, kind):
    svg = plot(frame, kind, of="joules").inline_svg(kind)
    assert "joule" in svg or "energy" in svg
    with pytest.raises(SchemaError, match="there are seconds, joules"):
        plot(frame, kind, of="watts")


def test_a_report_has_the_energy_of_its_points(frame):
    page = page_text(frame)
    assert "Where the energy of each point goes." in page
    assert "tokens of a joule" in page


def test_the_chart_of_machines_is_drawn(tmp_path, capsys):
    path = tmp_path / "machines.svg"
    assert code_of("efficiency", "--batch", "64", "--plot", str(path), "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert {record["workload"] for record in records} == {"matrix product", "decoder, batch 1", "decoder, batch 64"}
    assert all(record["machine"] in path.read_text() for record in records if "," not in record["machine"])
