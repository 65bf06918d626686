"""Files are whole or not there, and nobody else's file is written through their names beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.atomic_file import OutputError, written_beside


def test_the_name_beside_is_new_each_time_and_through_no_link(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        with written_beside(tmp_path / "rows.csv") as beside:
            assert beside.is_file()
            assert not beside.is_symlink()
            names.append(beside.name)
            beside.write_text("whole")
    assert len(set(names)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "rows.csv").symlink_to(tmp_path / "victim")
    with written_beside(tmp_path / "rows.csv") as beside:
        beside.write_text("whole")
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (tmp_path / "rows.csv").read_text() == "whole"


def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path, says in (
        (tmp_path / "folder.csv", "cannot be written: Is a directory"),
        (tmp_path / "none" / "rows.csv", "does not exist"),
        (tmp_path / f"{'x' * 300}.csv", "cannot be written: File name too long"),
    ):
        with pytest.raises(OutputError, match=says), written_beside(path) as beside:
            beside.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]
