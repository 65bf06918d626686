"""Results on disk: what is written is what is read, and what is no result is refused in one sentence."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest
from frame_rows import record, unfit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import loopline as ll
from results.atomic_file import OutputError
from results.errors import ReadError
from results.schema import COLUMNS, frame
from results.table import print_comparison

FORMS = ("parquet", "csv", "json")


@pytest.mark.parametrize("form", FORMS)
@given(st.tuples(*[st.integers(1, 10**15)] * 8), st.sampled_from(["", "NA", "None", "1,2", 'say "so"', "größer"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_a_frame_comes_back_bit_for_bit(tmp_path, form, parts, words):
    rows = frame([record(parts, variation=words, bound_s=0.0), unfit(model="llama\t8b")])
    path = tmp_path / f"rows.{form}"
    ll.save(rows, path)
    pd.testing.assert_frame_equal(ll.load(path), rows, check_exact=True)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_compare_prints_is_loaded(tmp_path, form):
    rows = frame([record(), unfit()])
    with (tmp_path / f"printed.{form}").open("w") as printed:
        print_comparison(rows, printed, form)
    pd.testing.assert_frame_equal(ll.load(tmp_path / f"printed.{form}"), rows)


def test_strings_stored_as_categories_or_nulls_are_read(tmp_path):
    rows = frame([record(), record(count=2)])
    stored = rows.astype({"chip": "category"}).assign(reason=None)
    stored.to_parquet(tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(ll.load(tmp_path / "rows.parquet"), rows)


def test_parquet_says_what_its_columns_mean(tmp_path):
    ll.save(frame([record()]), tmp_path / "rows.parquet")
    metadata = pq.read_schema(tmp_path / "rows.parquet").field("seconds").metadata
    assert metadata[b"unit"] == b"s"
    assert metadata[b"meaning"].decode() == COLUMNS["seconds"].meaning


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("nowhere.csv", None, "no such file"),
        pytest.param(f"{300 * 'long'}.csv", None, "too long", id="a long name"),
        ("rows.xlsx", "", "xlsx"),
        ("rows.csv", "chip,count\nh100,1\n", "column 'model' is missing"),
        ("rows.csv", "", "no CSV with a line of column names"),
        ("rows.json", "{", "not valid JSON"),
        ("rows.json", '{"chip": "h100"}', "list of records"),
        ("rows.json", "[]", "no results"),
        ("rows.parquet", "no parquet", "no whole Parquet file"),
        ("rows.json", json.dumps([record(count=1.5)]), "'count' is 1.5"),
        ("rows.json", json.dumps([record(count="many")]), "'count' is not int64"),
        ("rows.json", json.dumps([record(chip=100)]), "'chip' holds numbers"),
        ("rows.json", json.dumps([record(seconds=1.0, seconds_high=2.0)]), "do not sum"),
    ],
)
def test_what_is_no_result_is_refused_by_file_and_column(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ReadError, match=words) as refusal:
        ll.load(tmp_path / name)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_folder_that_is_no_sweeps_is_refused(tmp_path):
    with pytest.raises(ReadError, match=r"holds a manifest\.json, and this one has none"):
        ll.load(tmp_path)


def test_a_stored_result_that_beats_the_machine_is_refused(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([record(bound_s=1.0)]))
    with pytest.raises(ReadError, match="lower bound"):
        ll.load(tmp_path / "rows.json")


@pytest.mark.parametrize("name", ["rows.xlsx", "rows", "nowhere/rows.csv"])
def test_results_that_cannot_be_written_are_refused(tmp_path, name):
    with pytest.raises(OutputError, match="rows"):
        ll.save(frame([record()]), tmp_path / name)
