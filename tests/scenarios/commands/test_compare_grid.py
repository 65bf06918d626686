"""``loopline compare`` with lists for everything: all combined, ranked by the goals of plans, within limits."""

from __future__ import annotations

import json
from itertools import product

import pytest
from command_line import run

import loopline as ll
from scenarios.commands.questions.compare import MOST_COMPARED

GRID = ("compare", "llama-3.2-1b", "--chips", "h100", "h200", "--batch", "1", "16", "--precision", "bf16", "fp8")


def rows(capsys, *words):
    code, out, err = run(capsys, *GRID, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_all_that_is_listed_is_combined_as_one_by_one(capsys):
    found = {(row["chip"], row["batch"], row["precision"], row["strategy"]): row["seconds"] for row in rows(capsys)}
    strategies = ("per_operator", "fused_decoder", "kernel_loop")
    assert list(found) == list(product(("h100", "h200"), (1, 16), ("bf16", "fp8"), strategies))
    for (chip, batch, precision, strategy), seconds in list(found.items())[::5]:
        alone = ll.simulate("llama-3.2-1b", chip, batch=batch, precision=precision, strategy=strategy)
        assert alone["seconds"].iloc[0] == pytest.approx(seconds, rel=1e-6)


@pytest.mark.parametrize(
    ("goal", "key"),
    [
        ("time", lambda row: row["seconds"]),
        ("throughput", lambda row: -row["tokens_per_s"] / row["count"]),
        ("joules", lambda row: row["joules_per_token"]),
        ("cost", lambda row: row["cost"]),
    ],
)
def test_the_best_come_first(capsys, goal, key):
    found = rows(capsys, "--sort", goal)
    assert [key(row) for row in found] == sorted(key(row) for row in found)
    assert rows(capsys, "--sort", goal, "--best", "3") == found[:3]


def test_limits_leave_the_rows_within_them_in_their_order(capsys):
    limits = ("--at-least", "tokens_per_s_user=900", "--at-most", "batch=1", "joules_per_token=0.6")
    everything = rows(capsys)
    kept = [
        row
        for row in everything
        if row["tokens_per_s_user"] >= 900 and row["batch"] <= 1 and row["joules_per_token"] <= 0.6
    ]
    assert 0 < len(kept) < len(everything)
    assert rows(capsys, *limits) == kept


def test_a_ranked_table_shows_what_was_listed(capsys):
    _, out, _ = run(capsys, *GRID, "--best", "1")
    head, line = out.splitlines()[-2:]
    assert {"chip", "batch", "precision", "strategy"} <= set(head.split())
    assert {"h200", "1", "fp8", "kernel_loop"} <= set(line.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sort", "speed"), "--sort 'speed' is unknown; expected one of time, throughput"),
        (("--best", "0"), "--best is 0"),
        (("--at-least", "tokens_per_user=5"), "expected tokens_per_s_user"),
        (("--at-least", "speed"), "expected COLUMN=NUMBER"),
        (("--at-most", "seconds=1e-9"), "none of 24 points is within; the least, "),
        (("--context", *map(str, range(1, 50))), f"1,176 rows, compare takes {MOST_COMPARED}"),
    ],
)
def test_what_cannot_be_is_refused(capsys, words, told):
    code, _, err = run(capsys, *GRID, *words)
    assert code == 2
    assert told in err
