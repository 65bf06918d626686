"""Standard output and standard error as they are: a terminal of ASCII, a pipe whose reader has gone, a full disk.

What a terminal has no letter for is written with what it has. What can no longer be written ends the command, in one
sentence or, where nobody reads any more, in silence.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys

# What stands for letters that an encoding lacks; all others become a question mark.
PLAIN = {"×": "x", "–": "-", "—": "-", "−": "-", "…": "...", "·": ".", "•": "*", "│": "|", "─": "-", "━": "-", "µ": "u"}
WITH_PLAIN = "plain"


def prepare_streams() -> None:
    """Let nothing that is printed fail for its letters, nor for a stream that was closed before the command began."""
    codecs.register_error(WITH_PLAIN, _plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (to the end)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=WITH_PLAIN)


def unwritten(error: OSError) -> str:
    """What to say of output that could not be written; nothing where its reader has gone. Nothing more is written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr) if error.errno == errno.EPIPE else (sys.stdout,):
        if isinstance(stream, io.TextIOWrapper):
            os.dup2(nowhere, stream.fileno())
    if error.errno == errno.EPIPE:
        return ""
    return f"{error.filename or 'the output'} cannot be read or written: {error.strerror or error}"


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in lacking), error.end
