"""Output files that are whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from results.errors import LooplineError


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
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        to_disk(beside)
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None
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
