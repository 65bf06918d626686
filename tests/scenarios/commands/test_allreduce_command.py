"""``loopline allreduce``: what it prints, draws, traces and refuses, priced here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import loopline

from chips.spec import load_chip
from collectives.algorithms import ALGORITHMS
from collectives.libraries.choice import price_collective


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    assert loopline("allreduce", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_rows_are_what_the_library_does_with_bandwidths_of_nccl_tests(capsys):
    payloads = [8192, 65536, 2**20, 2**30]
    rows = records(capsys, "--chip", "h100", "--count", "8", "--bytes", "8KiB", "64KiB", "1MiB", "1GiB")
    library = price_collective(load_chip("h100"), "all_reduce", 8, payloads)
    assert [row["bytes"] for row in rows] == payloads
    assert [row["algorithm"] for row in rows] == library.algorithm.tolist()
    assert [row["seconds"] for row in rows] == library.seconds.tolist()
    assert [row["bound_seconds"] for row in rows] == library.bound_seconds.tolist()
    for row in rows:
        assert row["algorithm_bytes_per_s"] == pytest.approx(row["bytes"] / row["seconds"])
        assert row["bus_bytes_per_s"] == pytest.approx(row["algorithm_bytes_per_s"] * 2 * 7 / 8)


def test_modes_and_libraries_are_passed_on(capsys):
    graph = records(capsys, "--library", "nccl", "--bytes", "8KiB")[0]
    eager = records(capsys, "--library", "nccl", "--mode", "eager", "--bytes", "8KiB")[0]
    assert eager["seconds"] > graph["seconds"]
    assert (graph["runs_as"], eager["runs_as"]) == ("nccl graph", "nccl eager")


def test_an_algorithm_is_the_librarys_kernel_where_it_has_one_and_else_a_schedule(capsys):
    ring, swing = records(capsys, "--algorithm", "ring", "swing", "--bytes", "1MiB")
    assert not ring["is_schedule"]
    assert ring["algorithm"].startswith("ring ")
    assert swing["is_schedule"]
    assert records(capsys, "--algorithm", "ring", "--library", "schedule", "--bytes", "1MiB")[0]["is_schedule"]


def test_several_counts_and_one_chip(capsys):
    rows = records(capsys, "--count", "1", "2", "16", "--bytes", "1MiB")
    assert [row["count"] for row in rows] == [1, 2, 16]
    assert rows[0]["seconds"] == rows[0]["bus_bytes_per_s"] == 0


def test_comparison_has_every_algorithm_and_marks_the_fastest(capsys):
    rows = records(capsys, "--compare", "--bytes", "8KiB", "1GiB")
    assert {row["algorithm"] for row in rows} == set(ALGORITHMS)
    for size in (8192, 2**30):
        best = min((row for row in rows if row["bytes"] == size), key=lambda row: row["seconds"])
        assert any(first <= size <= (last or size) for first, last in best["fastest_for"])
    assert loopline("allreduce", "--compare", "--chip", "a100", "--bytes", "8KiB", "1GiB") == 0
    printed = capsys.readouterr()
    assert "left out: in_switch: a100 has no switch that reduces" in printed.err
    assert printed.out.count(" *") >= 2
    assert "fastest: one_shot up to " in printed.out


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_is_the_same_bytes_every_time(tmp_path: Path, suffix: str):
    pictures = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for picture in pictures:
        assert (
            loopline("allreduce", "--compare", "--count", "8", "16", "--bytes", "8KiB", "1MiB", "--plot", str(picture))
            == 0
        )
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_trace_of_a_schedule_has_every_step_of_every_rank(tmp_path: Path, capsys):
    file = tmp_path / "trace.json"
    row = records(capsys, "--algorithm", "swing", "--count", "4", "--bytes", "1MiB", "--trace", str(file))[0]
    written = json.loads(file.read_text())["traceEvents"]
    events = [event for event in written if event["ph"] == "X"]
    steps = sum(phase.count for phase in ALGORITHMS["swing"](4).phases)
    assert len([event for event in events if event["cat"] == "send"]) == 4 * steps
    assert len([event for event in events if event["cat"] in ("reduce", "copy")]) == 4 * steps
    # Viewers count whole nanoseconds.
    assert max(event["ts"] + event["dur"] for event in events) == pytest.approx(row["seconds"] * 1e6, abs=1e-3)
    assert {event["cat"] for event in events} == {"send", "reduce", "copy"}


@pytest.mark.parametrize("algorithm", ["ring", "two_shot", "double_binary_tree", "in_switch"])
def test_arrows_of_a_trace_go_from_a_send_to_another_ranks_receive(tmp_path: Path, capsys, algorithm: str):
    file = tmp_path / "trace.json"
    records(capsys, "--algorithm", algorithm, "--count", "8", "--bytes", "1MiB", "--trace", str(file))
    events = json.loads(file.read_text())["traceEvents"]
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    begun: dict[int, dict] = {}
    ended = 0
    for event in events:
        if event["ph"] == "s":
            assert tracks[event["tid"]] == "send"
            begun[event["id"]] = event
        elif event["ph"] == "f":
            begin = begun[event["id"]]
            assert tracks[event["tid"]] == "receive"
            assert event["pid"] != begin["pid"]
            assert event["ts"] >= begin["ts"]
            ended += 1
    # In the steps of a streamed schedule a send takes no time from which an arrow could begin.
    waits = len([event for event in events if event["ph"] == "X" and tracks[event["tid"]] == "receive"])
    assert ended == (waits if algorithm != "in_switch" else 0)


def test_trace_of_a_library_is_its_kernel(tmp_path: Path, capsys):
    file = tmp_path / "trace.json"
    row = records(capsys, "--bytes", "1GiB", "--trace", str(file))[0]
    (event,) = [event for event in json.loads(file.read_text())["traceEvents"] if event["ph"] == "X"]
    assert event["name"] == "nvls simple (trtllm graph)"
    assert event["dur"] == pytest.approx(row["seconds"] * 1e6, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1001", 1001),
        ("1001B", 1001),
        ("8KiB", 8192),
        ("1MB", 10**6),
        ("2kB", 2000),
        ("1.5MiB", 1572864),
        ("1e9", 10**9),
        ("1gb", 10**9),
        ("1 GiB", 2**30),
    ],
)
def test_bytes_are_read_with_their_units(text, size, capsys):
    assert records(capsys, "--bytes", text)[0]["bytes"] == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bytes", "8XB"), "--bytes 8XB: expected a whole number of bytes, such as 65536, 64KiB, 1.5MiB, 1MB or 1e9"),
        (("--bytes", "-1"), "--bytes -1: expected a whole number of bytes"),
        (("--bytes", "1000TiB"), "at most 1TiB"),
        (("--count", "0"), "--count is 0; it must be at least 1"),
        (("--executor", "mpi", "--ranks", "0"), "--count is 0; it must be at least 1"),
        (("--executor", "mpi", "--ranks", "2", "4"), "--ranks 2 4: ranks run one number at a time"),
        (("--executor", "ray"), "--executor ray: expected local or mpi"),
        (("--chip", "h1000"), "unknown chip 'h1000'; the nearest in the catalog: h100"),
        (("--chip", "tpu-v1"), "tpu-v1 works alone"),
        (("--algorithm", "rings"), "'rings' is not offered here; expected one of one_shot"),
        (("--library", "schedule", "--algorithm", "rings"), "algorithm 'rings' is not known; expected one of"),
        (("--chip", "a100", "--library", "schedule", "--algorithm", "in_switch"), "a100 has no switch that reduces"),
        (("--library", "oneccl"), "'oneccl' is not known; expected one of nccl, vllm"),
        (("--mode", "lazy"), "'lazy' is not known; expected one of graph, stream, eager"),
        (("--library", "schedule", "--mode", "eager"), "a bare schedule has none"),
        (("--compare", "--library", "nccl"), "leave out --library and --mode"),
        (("--calibrate", "--ranks", "1"), "at least 2 ranks are needed"),
        (("--calibrate", "--trace", "t.json"), "leave out one of them"),
        (("--calibrate", "--algorithm", "in_switch"), "a switch cannot be measured"),
        (("--calibrate", "--compare"), "--calibrate has all algorithms already"),
        (("--timeout", "0"), "--timeout 0: expected seconds above 0"),
        (("--plot", "picture.txt"), "a picture is a .png or .svg file"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, capsys):
    assert loopline("allreduce", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_bandwidths_do_not_depend_on_how_the_catalog_is_named(capsys):
    """The path of a chip's file gives the chip's numbers."""
    from chips.spec import chip_path

    by_name, by_path = (
        records(capsys, "--chip", chip, "--bytes", "1MiB", "--algorithm", "swing")[0]["seconds"]
        for chip in ("h100", str(chip_path("h100")))
    )
    assert np.isclose(by_name, by_path, rtol=0)
