"""A name is somebody's: no letter in it is a formula, a style, a column or a command to those who show it."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import pandas as pd
import pytest

from results.pictures.kinds import KINDS, plot
from results.report import report
from results.store import load, save
from results.table import print_comparison, print_records, read_csv, write_csv
from scenarios.pricing import compare

NAMES = ("$x_{$", "[/nope][bold]x[/bold]", ":smile:", "a 'b' \"c\"", "x; touch y; `id` $(id)", "=1+1", "<b>&")


@pytest.fixture(scope="module")
def priced() -> pd.DataFrame:
    return compare("llama-3.2-1b", ["h100"], [1, 2])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(priced: pd.DataFrame, name: str, tmp_path: Path) -> None:
    named = priced.assign(chip=name, model=name)
    shown = io.StringIO()
    print_comparison(named, shown)
    print_records([{"chip": name}], shown)
    assert shown.getvalue().count(name) >= 3
    for suffix in (".csv", ".json", ".parquet"):
        save(named, tmp_path / f"rows{suffix}")
        pd.testing.assert_frame_equal(load(tmp_path / f"rows{suffix}"), named, check_like=True)


@pytest.mark.parametrize("name", ["$x_{$", "[/b]:smile:'a' \"b\";`id` =1 <b>&"], ids=["formula", "markup"])
def test_every_picture_and_a_report_take_any_name(priced: pd.DataFrame, name: str, tmp_path: Path) -> None:
    named = priced.assign(chip=name, model=name)
    for kind in sorted({*KINDS} - {"heatmap"}):
        plot(named, kind).save(tmp_path / f"{kind}.svg")
    report(named, tmp_path / "report.html")


def test_a_command_that_a_report_offers_is_one_in_any_shell(priced: pd.DataFrame) -> None:
    from results.report import _commands

    (command,) = _commands(priced.assign(chip=NAMES[4]))
    words = shlex.split(command)
    assert words[words.index("--chips") + 1] == NAMES[4]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\tx", "'=1", "''=1", "'a", "a=1", ""])
def test_no_cell_of_a_csv_is_a_formula_and_every_text_comes_back(text: str) -> None:
    written = io.StringIO()
    write_csv(pd.DataFrame({"text": [text], "number": [-1.5]}), written)
    assert written.getvalue().splitlines()[1].strip('"')[:1] not in tuple("=+-@\t")
    assert written.getvalue().rstrip().endswith(",-1.5")
    again = read_csv(written.getvalue(), ["text"], ["number"])
    assert (again["text"][0], again["number"][0]) == (text, -1.5)
