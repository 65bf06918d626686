"""Users' text files: read whatever the locale and the editor, or refused in a sentence that is true."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest

from results.errors import ReadError
from results.text_file import MOST_BYTES, read_json, read_text, read_toml

WORDS = '{"name": "Grüße 模型"}'
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_utf8_is_read_with_or_without_its_mark(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "a.json").write_bytes(mark + WORDS.encode())
    assert read_json(tmp_path / "a.json") == {"name": "Grüße 模型"}


def test_utf8_is_read_in_a_locale_of_ascii(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(WORDS, encoding="utf-8")
    program = "import sys, pathlib, results.text_file as t; print(ascii(t.read_json(pathlib.Path(sys.argv[1]))))"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a.json")],
        env=os.environ | locale,
        capture_output=True,
        text=True,
    )
    assert said.stdout == ascii({"name": "Grüße 模型"}) + "\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty."),
        (WORDS.encode("utf-16"), "is UTF-16; save it as UTF-8."),
        (WORDS.encode("utf-16-be"), "is UTF-16; save it as UTF-8."),
        (WORDS.encode("utf-32"), "is UTF-32; save it as UTF-8."),
        ("{\n'Grüße'".encode("latin-1"), "is not UTF-8: byte 0xfc in line 2; save it so."),
        (b"GGUF\3\0\0\0\0\0\0\0", "is no text: it has null bytes."),
        (POINTER.encode(), "is a Git LFS pointer, not the file itself; `git lfs pull` fetches that."),
        (b"<!DOCTYPE html>\n<html></html>", "is a web page; download the file itself."),
        (b'{"name": [1, 2', "not valid JSON: Expecting ',' delimiter: line 1 column 15 (char 14); its end is missing."),
        (b"[" * 100_000, "not valid JSON: its lists or tables lie too deeply in each other."),
        (b"9" * 10_000, "not valid JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_json_is_told_for_what_it_is(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ReadError) as refusal:
        read_json(tmp_path / "a.json")
    sentence = str(refusal.value)
    assert says in sentence
    assert sentence.startswith(str(tmp_path / "a.json"))
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("content", "says"),
    [("a = ", "not valid TOML: Invalid value"), ("a = " + "[" * 5_000, "too deeply"), ("a = " + "9" * 5_000, "limit")],
)
def test_what_is_no_toml_is_told_for_what_it_is(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.toml").write_text(content, encoding="utf-8")
    with pytest.raises(ReadError, match=says):
        read_toml(tmp_path / "a.toml")


def test_what_is_no_file_is_told_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "large.json").open("wb") as large:
        large.truncate(MOST_BYTES + 1)
    for name, says in {
        "none.json": "no such file",
        "folder.json": "is a folder; expected a file",
        "folder.json/below": "no such file",
        "pipe.json": "is a pipe or a device; expected a file",
        "large.json": "such a text has at most 67,108,864",
        "x" * 300: "cannot be read: File name too long",
        "null\0.json": "cannot be read: embedded null byte",
    }.items():
        with pytest.raises(ReadError, match=says):
            read_text(tmp_path / name)
