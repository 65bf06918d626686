"""The command line as a user meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
from itertools import pairwise

import pandas as pd
import pytest
from command_line import run

from results.schema import COLUMNS
from results.words import BOUNDARY_COLUMNS
from scenarios.commands.main import main

COMPARE = ["compare", "llama-3.2-1b", "--chips", "h100", "sn40l", "--count", "1", "2", "--context", "512"]


def test_json_has_a_record_for_every_chip_count_and_strategy(capsys):
    code, out, _ = run(capsys, *COMPARE, "--json")
    records = json.loads(out)
    assert code == 0
    assert len(records) == 2 * 2 * 3
    assert all(list(record) == [*COLUMNS, *BOUNDARY_COLUMNS] for record in records)


def test_csv_and_json_say_the_same(capsys):
    _, text, _ = run(capsys, *COMPARE, "--csv")
    _, records, _ = run(capsys, *COMPARE, "--json")
    pd.testing.assert_series_equal(
        pd.read_csv(io.StringIO(text))["seconds"], pd.DataFrame(json.loads(records))["seconds"]
    )


def test_the_table_names_every_strategy(capsys):
    code, out, _ = run(capsys, *COMPARE)
    assert code == 0
    assert all(name in out for name in ("per_operator", "fused_decoder", "kernel_loop", "h100 x2", "sn40l x1"))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_plot_is_written_whole(capsys, tmp_path, suffix):
    path = tmp_path / f"bars{suffix}"
    code, _, err = run(capsys, *COMPARE, "--plot", str(path))
    assert code == 0
    assert path.stat().st_size > 10_000
    assert str(path) in err
    assert list(tmp_path.iterdir()) == [path]


def test_a_trace_names_operators_and_layers_and_never_overlaps_on_an_engine(capsys, tmp_path):
    path = tmp_path / "trace.json"
    code, _, _ = run(capsys, *COMPARE, "--trace", str(path))
    assert code == 0
    events = json.loads(path.read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert any("layer 15" in event["name"] and "down projection" in event["name"] for event in slices)
    tracks = {}
    for event in slices:
        tracks.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in tracks.values():
        spans.sort()
        assert all(later[0] >= earlier[1] - 1e-6 for earlier, later in pairwise(spans))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "llama-3.1-8c", "--chips", "h100"], "llama-3.1-8b"),
        (["compare", "llama-3.1-8b", "--chips", "h10"], "h100"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--count", "0"], "at least 1"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--count", "3"], "1, 2, 4, 8"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--batch", "-4"], "at least 1"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--batch", "9" * 20], "at most 2147483647"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--context", "999999"], "at most 131072"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--plot", "bars.pdf"], ".svg"),
        (["compare", "nowhere/config.json", "--chips", "h100"], "nowhere/config.json"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--count", "two"], "--count"),
        (["compare", "llama-3.1-8b"], "--chips"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--count"], "--count"),
        (["compare", "llama-3.1-8b", "--chips", "h100", "--quick"], "--quick"),
        (["validate", "--data", "/nowhere"], "/nowhere"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence_and_exit_code_2(capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_nothing_that_fits_is_exit_code_1_with_what_would(capsys):
    code, _, err = run(capsys, "compare", "llama-3.1-405b", "--chips", "h100", "--count", "1")
    assert code == 1
    assert "chips would hold it" in err


@pytest.mark.parametrize("arguments", [["chips"], ["chips", "sn40l"], ["models"], ["models", "qwen3-8b"]])
def test_catalogs_print_and_have_json(capsys, arguments):
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert len(out.splitlines()) > 5
    code, out, _ = run(capsys, *arguments, "--json")
    assert len(json.loads(out)) > 5


@pytest.mark.parametrize("command", [["compare", "llama-3.2-1b", "--chips", "h100"], ["run", "one-slow-chip"]])
def test_one_output_has_one_form(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--csv", "--json"])
    assert ended.value.code == 2
    assert "--csv and --json" in capsys.readouterr().err
