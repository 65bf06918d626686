"""Generated text beside its times: what a pipe gets and what a terminal shows."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from results.atomic_file import OutputError
from results.pictures.generation import plot_tokens
from results.views.generation_view import GenerationView


class Screen(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_times_while_the_text_goes_to_a_pipe() -> None:
    out, err = io.StringIO(), Screen()
    with GenerationView(out, err) as view:
        view.status("loading")
        view.token("Hel", {"sn40l x1": 1e-3, "here": 0.1})
        view.token("lo", {"sn40l x1": 2e-3, "here": 0.1})
    assert out.getvalue() == "Hello\n"
    assert "loading" in err.getvalue()
    assert "3.00 ms" in err.getvalue()
    assert "Hello" not in err.getvalue()


def test_one_terminal_for_both_shows_the_text_above_the_times_and_prints_it_at_the_end() -> None:
    out, err = Screen(), Screen()
    with GenerationView(out, err) as view:
        view.token("Hello", {"here": 0.1})
        assert not out.getvalue()
        assert "Hello" in err.getvalue()
    assert out.getvalue() == "Hello\n"


def test_without_an_output_only_the_times_are_shown() -> None:
    err = Screen()
    with GenerationView(None, err) as view:
        view.token("Hello", {"here": 0.1})
    assert "Hello" not in err.getvalue()
    assert "100 ms" in err.getvalue()


def test_a_long_text_scrolls_above_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "12")
    monkeypatch.setenv("COLUMNS", "60")
    out, err = Screen(), Screen()
    with GenerationView(out, err) as view:
        for number in range(30):
            view.token(f"line {number}\n", {"here": 0.1})
        shown = err.getvalue().rpartition("line 28")[0].rpartition("token 29")[2]
        assert "line 27" in shown
        assert not re.search(r"line 3\b", shown)
    assert out.getvalue().count("\n") == 31


def test_lines_of_machines_with_one_token_can_be_drawn(tmp_path: Path) -> None:
    plot_tokens({"a": [1e-3], "b": [2e-3]}, "one token", tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(OutputError, match=r"a picture is a \.png or \.svg"):
        plot_tokens({"a": [1.0]}, "none", tmp_path / "one.pdf")
