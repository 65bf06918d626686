"""How an answer moves with each uncertain constant: what a chip with another value of it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run

import loopline as ll
from results.views.sensitivity import LEAST_MOVED, effect, moving_most
from scenarios.errors import ScenarioError

MODEL = "llama-3.2-1b"


@pytest.fixture(scope="module")
def records() -> list[dict[str, object]]:
    return ll.sensitivities(MODEL, ["h100", "sn40l"], [1, 2], strategy=["per_operator", "kernel_loop"])


def test_a_moved_constant_is_that_of_a_chip_with_another_value(records) -> None:
    (record,) = (
        row
        for row in records
        if (row["count"], row["strategy"], row["constant"]) == (2, "kernel_loop", "generation.launch.hand_dispatch")
    )
    name, key = "h100", record["constant"]
    assert record["seconds"] == ll.simulate(MODEL, name, 2, strategy="kernel_loop")["seconds"].iloc[0]
    for factor, which in ((1 / 1.25, "seconds_less"), (1.25, "seconds_more")):
        (other,) = ll.what_if(name, {key: float(f"{record['value'] * factor:.6g}")})
        assert record[which] == ll.simulate(MODEL, other, 2, strategy="kernel_loop")["seconds"].iloc[0]


def test_constants_move_the_rows_that_rest_on_them(records) -> None:
    moved = {(row["chip"], row["count"], row["strategy"], row["constant"]): effect(row) for row in records}
    less, more = moved["h100", 1, "kernel_loop", "generation.launch.hand_dispatch"]
    assert less < 0.0 < more
    assert moved["h100", 1, "per_operator", "generation.launch.hand_dispatch"] == (0.0, 0.0)
    assert moved["h100", 1, "per_operator", "generation.collective.sync"] == (0.0, 0.0)
    assert moved["h100", 2, "per_operator", "generation.collective.sync"] != (0.0, 0.0)
    slower, faster = moved["sn40l", 1, "kernel_loop", "timing.memory_efficiency"]
    assert faster < 0.0 < slower, "of 99%, no more than all can be reached"


def test_shown_are_those_that_move_a_row_the_most_first(records) -> None:
    own = [row for row in records if (row["chip"], row["count"]) == ("h100", 2)]
    largest = [
        max(abs(share) for row in own if row["constant"] == name for share in effect(row)) for name in moving_most(own)
    ]
    assert largest == sorted(largest, reverse=True)
    assert largest[-1] >= LEAST_MOVED


def test_other_lists_are_refused_in_a_sentence() -> None:
    with pytest.raises(ScenarioError, match="only chips, counts, strategies and launches may be lists"):
        ll.sensitivities(MODEL, "h100", batch=[1, 2])
    with pytest.raises(ScenarioError, match="it takes 60 of them, not 72"):
        ll.sensitivities(
            MODEL, "h100", [1, 2, 4, 8], strategy=["per_operator"], launch=["graph", "pdl"], batch=list(range(1, 10))
        )


def test_the_command_prints_tables_records_and_a_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ("--quiet", "compare", MODEL, "--chips", "h100", "--strategy", "kernel_loop", "--sensitivity")
    picture = tmp_path / "tornado.svg"
    ended = run(capsys, *asked, "--plot", str(picture))
    assert not ended.code
    assert "What moves the answer" in ended.out
    assert "generation.launch.hand_dispatch" in ended.out
    assert "hand_dispatch" in picture.read_text()
    ended = run(capsys, *asked, "--json")
    assert not ended.code
    assert {"constant", "source", "seconds_less", "seconds_more"} <= set(json.loads(ended.out)[0])


def test_constants_that_are_whole_in_their_file_move_too(records) -> None:
    moved = {row["constant"] for row in records if row["chip"] == "h100"}
    assert {"generation.matmul.l2_bytes_per_clock", "generation.matmul.step_cycles"} <= moved
    assert "generation.matmul.most_splits" not in moved


def test_rows_that_are_left_out_are_left_out_here_and_what_it_is_not_told_of_is_refused_before_pricing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ("compare", MODEL, "--chips", "h100", "--strategy", "kernel_loop", "per_operator", "--sensitivity")
    ended = run(capsys, *asked, "--best", "1", "--json")
    assert {row["strategy"] for row in json.loads(ended.out)} == {"kernel_loop"}
    ended = run(capsys, *asked, "--csv")
    assert (ended.code, "--csv has the rows alone" in ended.err) == (2, True)
    ended = run(capsys, *asked, "--batch", "1", "2")
    assert (ended.code, "only chips, counts, strategies and launches" in ended.err) == (2, True)
