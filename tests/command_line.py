"""``loopline`` as a function."""

from __future__ import annotations

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
