"""Output files that are whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results.errors import LooplineError


class OutputError(LooplineError, ValueError):
    """A result cannot be written where it was asked for; the message is one sentence that names the file."""


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, with the same suffix; renamed to ``path`` at the end, removed on an error.

    Raises OutputError if the folder is missing or cannot be written.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder '{path.parent}' does not exist.")
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        beside.unlink(missing_ok=True)
