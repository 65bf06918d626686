"""docs/collectives.md is true: its programs run, and its tables are what the commands print."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from collectives.algorithms import ALGORITHMS
from scenarios.commands.main import main

DOCUMENT = (Path(__file__).parents[2] / "docs" / "collectives.md").read_text()


def printed(*arguments: str) -> str:
    with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as end:
        main([*arguments])
    assert end.value.code in (0, None)
    return out.getvalue()


def test_its_programs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for program in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL):
        with redirect_stdout(io.StringIO()):
            exec(program, names)  # the document is ours
    assert (tmp_path / "sn40l_links.png").stat().st_size > 0


def test_every_all_reduce_is_in_its_table():
    rows = re.findall(r"^\| (`.*?) \|", DOCUMENT, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(ALGORITHMS) <= named


def test_its_times_on_a_fat_tree_are_printed_by_its_command():
    table = re.findall(r"^\| `(\w+)` \| ([\d.]+ ms) \| ([\d.]+ ms) \|$", DOCUMENT, re.MULTILINE)
    assert len(table) == 5
    names = [name for name, _, _ in table]
    for column, oversubscription in ((1, "1"), (2, "4")):
        out = printed(
            *("schedule", *names, "--topology", "fat_tree:8x8", "--bytes", "64MiB"),
            *("--oversubscription", oversubscription),
        )
        for row in table:
            assert re.search(rf"^{row[0]} .* {row[column]}", out, re.MULTILINE), row


def test_its_times_on_a_torus_are_printed_by_the_command():
    for size, times in (("64MiB", ("2.78 ms", "744 us", "689 us")), ("8KiB", ("142 us", "20.1 us", "28.1 us"))):
        out = printed("schedule", "ring", "swing", "torus_2d", "--topology", "torus:8x8", "--bytes", size)
        for name, time in zip(("ring", "swing", "torus_2d"), times, strict=True):
            assert re.search(rf"^{name} .* {time} ", out, re.MULTILINE), (size, name)
