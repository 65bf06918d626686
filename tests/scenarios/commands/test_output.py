"""The shared end of commands: files are refused before the work, results printed, and what was written is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.atomic_file import OutputError
from scenarios.commands.output import check_files, show, write


@pytest.mark.parametrize("kind", ["output", "plot", "trace"])
def test_a_file_of_another_kind_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"not '\.doc'"):
        check_files(**{kind: tmp_path / "file.doc"})


def test_a_moving_picture_is_one_where_it_is_allowed(tmp_path: Path) -> None:
    check_files(plot=tmp_path / "array.gif", pictures=(".gif",))
    with pytest.raises(OutputError):
        check_files(plot=tmp_path / "array.gif")


def test_records_are_json_or_the_tables_that_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"seconds": 0.5}], json=True, tables=[[{"time": "500 ms"}]])
    assert capsys.readouterr().out == '[\n {\n  "seconds": 0.5\n }\n]\n'
    show([{"seconds": 0.5}], json=False, tables=[[{"time": "500 ms"}]])
    assert "500 ms" in capsys.readouterr().out


def test_what_is_written_is_said_on_standard_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write(path, lambda file: file.write_text("here"), " (a note)")
    write(None, lambda file: pytest.fail("nothing is asked for"))
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"wrote {path} (a note)\n")
    assert path.read_text() == "here"
