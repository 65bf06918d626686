"""Output files that are whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from results.errors import LooplineError

MOST_STEM = 100  # of a name beside, which must not become too long


class OutputError(LooplineError, ValueError):
    """A result cannot be written where it was asked for; the message is one sentence that names the file."""


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, with the same suffix; renamed to ``path`` at the end, removed on an error.

    The bytes are on the disk before the name is: no name survives a power cut that its bytes do not.

    Raises OutputError if the folder is missing or cannot be written.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist.")
    beside = path.with_name(f".{path.stem[:MOST_STEM]}.{token_hex(8)}{path.suffix}")
    try:
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # ours alone, and through no link
        yield beside
        to_disk(beside)
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        with suppress(OSError):  # what could not be written has been told; what is left over is hidden
            beside.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file's bytes, or the names in a folder, are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
