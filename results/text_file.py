"""Text files of users: read as UTF-8 whatever the locale, as TOML or as JSON, or refused in a sentence that is true.

Belongs here: what a file is that somebody names, and how it is told that it is something else. Does not belong here:
what its keys mean. Every package reads its text here, so this imports no other than ``results.errors``.
"""

from __future__ import annotations

import codecs
import json
import stat
import tomllib
from pathlib import Path
from typing import Any

from results.errors import ReadError

MOST_BYTES = 2**26  # of a text; the largest tokenizer.json of a published model has half of it
MOST_TOML_BYTES = 2**22  # tomllib reads about a megabyte a second
LFS_POINTER = "version https://git-lfs.github.com/spec/"
WEB_PAGES = ("<!doctype html", "<html")
# Longest first: UTF-32's mark begins with UTF-16's.
OTHER_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read_text(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of the file at ``path``, without a byte order mark.

    Raises ReadError in one sentence where there is none, or it is no text in UTF-8 of at most ``most_bytes``.
    """
    return _decoded(_bytes(path, most_bytes), path)


def read_json(path: Path, most_bytes: int = MOST_BYTES) -> Any:
    """What the JSON at ``path`` says. Raises ReadError in one sentence."""
    text = read_text(path, most_bytes)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise ReadError(f"{path} is empty.") from None
        cut = "; its end is missing" if error.pos >= len(text.rstrip()) else ""
        raise ReadError(f"{path}: not valid JSON: {error}{cut}.") from None
    except ValueError as error:  # a number of more digits than Python reads
        raise ReadError(f"{path}: not valid JSON: {error}.") from None
    except RecursionError:
        raise ReadError(f"{path}: not valid JSON: its lists or tables lie too deeply in each other.") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of the TOML at ``path``. Raises ReadError in one sentence."""
    return parse_toml(read_text(path, MOST_TOML_BYTES), path)


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """The same of its ``text``."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ReadError(f"{path}: not valid TOML: {error}.") from None
    except RecursionError:
        raise ReadError(f"{path}: not valid TOML: its lists or tables lie too deeply in each other.") from None


def check_file(path: Path) -> int:
    """The size in bytes of the file at ``path``. Raises ReadError where there is none: nothing, a folder, a pipe."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise ReadError(f"{path}: no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte in it
        raise ReadError(f"{path!s:.200} cannot be read: {_reason(error)}.") from None
    if stat.S_ISDIR(found.st_mode):
        raise ReadError(f"{path} is a folder; expected a file.")
    if not stat.S_ISREG(found.st_mode):
        raise ReadError(f"{path} is a pipe or a device; expected a file.")
    return found.st_size


def refuse_pointer(path: Path, beginning: bytes) -> None:
    """Raise ReadError where a file that begins so stands for another one, which Git LFS has not fetched."""
    if beginning.startswith(LFS_POINTER.encode()):
        raise ReadError(f"{path} is a Git LFS pointer, not the file itself; `git lfs pull` fetches that.")


def _bytes(path: Path, most_bytes: int) -> bytes:
    size = check_file(path)
    if size > most_bytes:
        raise ReadError(f"{path} has {size:,} bytes; such a text has at most {most_bytes:,}.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {_reason(error)}.") from None


def _decoded(content: bytes, path: Path) -> str:
    refuse_pointer(path, content)
    for mark, name in OTHER_MARKS:
        if content.startswith(mark):
            raise ReadError(f"{path} is {name}; save it as UTF-8.")
    if b"\0" in content:
        kind = "UTF-16; save it as UTF-8" if content[:4].count(0) == 2 else "no text: it has null bytes"
        raise ReadError(f"{path} is {kind}.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ReadError(f"{path} is not UTF-8: byte 0x{content[error.start]:02x} in line {line}; save it so.") from None
    if text[:20].lstrip().lower().startswith(WEB_PAGES):
        raise ReadError(f"{path} is a web page; download the file itself.")
    return text


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
