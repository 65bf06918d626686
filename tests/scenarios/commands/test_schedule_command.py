"""``loopline schedule``: schedules on links of one's own."""

from __future__ import annotations

import json

import pytest
from command_line import run


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict]:
    code, out, _ = run(capsys, "schedule", *arguments, "--json")
    assert code == 0
    return {record["algorithm"]: record for record in json.loads(out)}


def test_every_algorithm_is_proved_and_priced(capsys):
    rows = records(capsys, "--count", "6", "--bytes", "6MB")
    assert len(rows) == 14
    assert {row["verified"] for row in rows.values()} == {"yes"}
    # 10 steps of a microsecond and 2 x 5/6 of 6 MB at 50 GB/s
    assert rows["ring"]["seconds"] == pytest.approx(10e-6 + 10e6 / 50e9)
    assert rows["ring"]["sent_bytes"] == 10_000_000


def test_a_straggler_is_felt_by_all_reductions_and_not_by_every_broadcast(capsys):
    late = ("--late", "7=1ms", "--count", "8")
    assert all(row["lateness_seconds"] > 0.5e-3 for row in records(capsys, *late).values())
    rows = records(capsys, "binomial_tree", "--operation", "broadcast", *late)
    assert rows["binomial_tree"]["first_seconds"] < 1e-4 < rows["binomial_tree"]["seconds"] == 1e-3


def test_the_torus_of_the_links_is_used(capsys):
    rows = records(capsys, "torus_2d", "ring", "--topology", "torus:4x8", "--bytes", "32MiB")
    assert rows["torus_2d"]["steps"] == 2 * (3 + 7)
    assert rows["torus_2d"]["seconds"] < rows["ring"]["seconds"] / 2


def test_several_counts_and_sizes_are_rows(capsys):
    code, out, _ = run(capsys, "schedule", "ring", "--count", "4", "8", "--bytes", "8KiB", "1MB", "--json")
    assert code == 0
    assert [(row["ranks"], row["bytes"]) for row in json.loads(out)] == [
        (4, 8192),
        (4, 10**6),
        (8, 8192),
        (8, 10**6),
    ]


def test_algorithms_that_links_do_not_allow_are_left_out_with_the_step(capsys):
    code, out, err = run(capsys, "schedule", "--topology", "ring", "--neighbours-only")
    assert code == 0
    assert "ring" in out
    assert "left out recursive_doubling: recursive_doubling, phase 1, step 0: there is no link from rank 0 to" in err
    assert "left out in_switch" in err


MISTAKES = {
    "no link from rank 7 to rank 0": ("ring", "--topology", "line", "--neighbours-only"),
    "--topology foo: expected switch, fully_connected": ("--topology", "foo"),
    "--topology torus:4x0: expected its sides, as in torus:4x4": ("--topology", "torus:4x0"),
    "--count 9: torus:2x4 has 8 ranks": ("--topology", "torus:2x4", "--count", "9"),
    "--late 9=1us: there are 8 ranks, from 0 to 7": ("--late", "9=1us"),
    "--late 3: expected a rank and a time, as in 3=20us": ("--late", "3"),
    "--late soon: expected a time, such as 20us": ("--late", "3=soon"),
    "algorithm 'rung' is not known; all_reduce has": ("rung",),
    "--operation reduce: expected": ("--operation", "reduce"),
    "--bytes 8x: expected a whole number of bytes": ("--bytes", "8x"),
    "--bandwidth 0: expected bytes a second from 1e+06 to 1e+18": ("--bandwidth", "0"),
    "at most 6 schedules between 64 ranks are drawn, not 1": ("ring", "--count", "65", "--plot", "a.png"),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_mistake_is_answered_in_one_sentence(capsys, sentence):
    code, out, err = run(capsys, "schedule", *MISTAKES[sentence])
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_the_picture_shows_every_rank(capsys, tmp_path):
    picture = tmp_path / "steps.svg"
    code, _, err = run(capsys, "schedule", "ring", "in_switch", "--late", "3=40us", "--plot", str(picture))
    assert code == 0
    assert f"wrote {picture}" in err
    assert picture.read_text().lstrip().startswith("<?xml")
