"""``--quiet``: standard error without notes and progress, so that only what went wrong is left on it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TextIO

ERROR = "loopline: "


class ErrorsOnly(io.TextIOBase):
    """A stream that passes on the lines that begin as errors do, and is no terminal, so that nothing draws progress."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if line.startswith(ERROR):
                self._stream.write(f"{line}\n")
        return len(text)

    def isatty(self) -> bool:
        return False


@contextmanager
def errors_only(stream: TextIO) -> Iterator[None]:
    """Within it, standard error is ``stream`` without everything but errors."""
    with redirect_stderr(ErrorsOnly(stream)):
        yield
