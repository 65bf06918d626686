"""What is written: plots, traces, tables, and errors of measurement."""

from __future__ import annotations

import io
import json
from collections import namedtuple

import numpy as np
import pytest
from frame_rows import record, unfit

from results.atomic_file import OutputError, written_beside
from results.error_statistics import error_statistics, statistics_by, worst_rows
from results.pictures.kinds import plot_breakdown
from results.schema import frame
from results.table import print_comparison, print_records
from results.trace.events import write_trace

Event = namedtuple("Event", "engine name label start_ps finish_ps")


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "result.json"

    def write_half():
        with written_beside(path) as beside:
            beside.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert list(tmp_path.iterdir()) == []
    with written_beside(path) as beside:
        beside.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("name", ["bars.pdf", "bars", "nowhere/bars.png"])
def test_a_plot_that_cannot_be_written_is_refused(tmp_path, name):
    with pytest.raises(OutputError, match="bars"):
        plot_breakdown(frame([record()]), tmp_path / name)


def test_equal_results_draw_equal_bytes_and_show_what_does_not_fit(tmp_path):
    rows = frame([record(), unfit(count=1)])
    for name in ("one.svg", "two.svg"):
        plot_breakdown(rows, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_frame_in_which_nothing_fits_can_be_drawn_and_printed(tmp_path):
    rows = frame([unfit()])
    plot_breakdown(rows, tmp_path / "none.png")
    text = io.StringIO()
    print_comparison(rows, text)
    assert "too large" in text.getvalue()


def test_a_trace_has_a_process_a_chip_and_a_track_an_engine(tmp_path):
    tasks = [
        Event("HBM", "layer 0/load", ("matmul", "HBM"), np.array([0, 5]), np.array([1_500_000, 7])),
        Event("link", "layer 0/AllReduce", ("allreduce", "link"), np.array([2, 9]), np.array([3, 10])),
    ]
    write_trace({"h100 x2": tasks}, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert len({event["pid"] for event in slices}) == 2
    assert len({(event["pid"], event["tid"]) for event in slices}) == 4
    assert slices[0]["dur"] == 1.5


def test_statistics_count_what_is_not_predicted():
    measured = np.array([1.0, 2.0, 4.0, 8.0])
    predicted = np.array([1.1, 2.0, np.nan, 4.0])
    statistics = error_statistics(predicted, measured)
    assert (statistics.rows, statistics.unpredicted) == (4, 1)
    assert statistics.mean_ape == pytest.approx((0.1 + 0 + 0.5) / 3)
    assert statistics.bias == pytest.approx(1.0)
    assert list(worst_rows(predicted, measured, 2)) == [3, 0]


def test_statistics_by_group_are_those_of_the_groups_alone():
    rows = frame([record(count=1), record(count=2), record(count=1)])
    predicted, measured = np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0])
    groups = statistics_by(rows["count"], predicted, measured)
    assert groups["1"] == error_statistics(predicted[[0, 2]], measured[[0, 2]])
    assert groups["2"].mean_ape == 1.0


def test_records_print_with_all_their_keys():
    text = io.StringIO()
    print_records([{"chip": "h100", "peak_tflops": 989.4}, {"chip": "tpu", "watts": 75}], text)
    assert all(word in text.getvalue() for word in ("h100", "989.4", "tpu", "75", "peak", "tflops"))
