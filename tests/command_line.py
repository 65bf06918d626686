"""``loopline`` as a function, and how a process of it hears Ctrl-C."""

from __future__ import annotations

import signal
from typing import NamedTuple

import pytest

from scenarios.commands.main import main


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def loopline(*arguments: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    """The command's exit code, and what it printed since the last time that anybody asked."""
    code = loopline(*arguments)
    return Ended(code, *capsys.readouterr())


def listen_to_interrupts() -> None:
    """For a process that is about to start: where the tests run in the background, their shell may have told them to
    ignore Ctrl-C, and so their children.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
