"""Tables on terminals of all widths: nothing is cut, what has no room is named, no line is longer than the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from io import StringIO

import pytest
from command_line import loopline

from results.printed_table import Column, print_table
from scenarios.commands import registry

COMMANDS = (
    ("compare", "llama-3.2-1b", "--chips", "h100", "sn40l", "--energy"),
    ("compare", "llama-3.1-70b", "--chips", "gb200", "--count", "1", "2", "--variation", "straggler=0.1@0"),
    ("boundary", "llama-3.2-1b", "--chip", "h100"),
    ("boundary", "llama-3.2-1b", "--chip", "h100", "--measured"),
    ("serve", "llama-3.2-1b", "--chips", "h100"),
    ("roofline", "llama-3.1-8b", "--chips", "h100"),
    ("bandwidth", "llama-3.2-1b", "--chip", "h100", "--strategy", "kernel_loop"),
    ("training", "llama-2-7b", "--chip", "h100", "--count", "8", "--batch", "8"),
    ("chips",),
    ("chips", "h100"),
    ("models",),
    ("models", "llama-3.1-70b"),
    ("scenarios",),
    ("schedule",),
    ("allreduce", "--chip", "h100", "--count", "8"),
    ("fit", "--chips", "sn40l", "--hidden", "2048"),
    ("tiles", "softmax"),
    ("efficiency",),
    ("plan", "llama-3.1-8b", "--chips", "h100", "--batches", "1", "--count", "8"),
)
NUMBER = r"\d[\d,.]*(?:e[+-]?\d+)?"
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(monkeypatch: pytest.MonkeyPatch, width: int, *words: str) -> str:
    """What the command puts on a terminal that is so wide."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    pieces: list[bytes] = []

    def read() -> None:
        while piece := _piece(master):
            pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.delenv("COLUMNS", raising=False)
    with open(slave, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", terminal)
        code = loopline(*words)
    reader.join()
    os.close(master)
    assert code == 0
    return STYLE.sub("", b"".join(pieces).decode().replace("\r\n", "\n"))


def _piece(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says so where the other end of a pseudo-terminal is closed
        return b""


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_terminal_cuts_a_number_or_a_name(words, monkeypatch, capsys):
    assert loopline(*words) == 0
    piped = capsys.readouterr().out
    numbers = set(re.findall(NUMBER, piped))
    for width in (80, 100, 120, 200):
        text = shown(monkeypatch, width, *words)
        assert "…" not in text.replace("...", "")
        for line in text.split("\n"):
            assert line == line.rstrip()
        ruled = [len(line) for line in text.split("\n") if line and set(line) == {"─"}]
        assert ruled or words[0] == "efficiency"
        assert max(ruled, default=0) <= width
        # What is shown is what a pipe has, less columns of which a line tells; widths in that line are its own.
        told = re.sub(r"no room for [^:]*:\s+\d+\s+columns", "", text)
        assert set(re.findall(NUMBER, told)) <= numbers
        assert ("no room for" in text) == ("has them" in re.sub(r"\s+", " ", text))


def test_the_names_of_rows_and_what_a_row_answers_are_there_at_every_width(monkeypatch):
    for width in (80, 100, 120, 200):
        text = shown(monkeypatch, width, "compare", "llama-3.1-8b", "--chips", "h100-96gb", "rtx-pro-6000")
        for word in ("h100-96gb x1", "rtx-pro-6000 x1", "per_operator", "fused_decoder", "kernel_loop", "limited"):
            assert word in text
        assert "no room" not in text or width < 200


@pytest.fixture
def columns():
    return [
        Column("row", ["a name of several words", "another"], right=False),
        Column("all\nnil", ["0%", "-"], 1),
        Column("kept", ["1.5 ms", "22 us"], 1),
        Column("gone", ["12,345", "6"], 2),
        Column("why", ["because of a reason that is longer than a line has room for", ""], 3),
    ]


def test_a_pipe_has_all_columns_and_no_trailing_blanks(columns):
    stream = StringIO()
    print_table(columns, stream, [0])
    lines = stream.getvalue().split("\n")
    assert lines[0].split() == ["all"]
    assert lines[1].split() == ["row", "nil", "kept", "gone", "why"]
    assert lines[3] == ""
    assert all(line == line.rstrip() for line in lines)
    assert lines[4].split() == ["another", "-", "22", "us", "6"]


def test_columns_that_say_nothing_go_first_then_those_of_the_highest_rank(columns, monkeypatch):
    def printed(width: int) -> str:
        stream = StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(columns, stream)
        return re.sub(r"\s+", " ", STYLE.sub("", stream.getvalue()))

    assert "no room" not in printed(120)
    assert "no room" not in printed(75)  # the long text breaks before anything is left out
    assert "no room for all nil: " in printed(69)
    assert "no room for all nil, why: " in printed(50)
    assert "no room for all nil, gone, why: " in printed(33)
    assert "a name of several words" in printed(20)


@pytest.mark.parametrize("command", sorted(registry.COMMANDS))
def test_help_has_an_example_and_cuts_no_word(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert loopline(command, "--help") == 0
    text = capsys.readouterr().out
    assert "…" not in text
    assert all(len(line) <= 80 for line in text.split("\n"))
    assert text.count(f"loopline {command}") > 1  # in its usage, and in an example
