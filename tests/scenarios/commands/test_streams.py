"""Output that cannot be written ends in a sentence or in silence, with the code that says so, never in a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from scenarios.commands.main import main; main()"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
FULL = Path("/dev/full")


def ended(*arguments: str, out: int = subprocess.PIPE, locale: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    done = subprocess.run(
        [*COMMAND, *arguments], stdout=out, stderr=subprocess.PIPE, env=os.environ | (locale or {}), check=False
    )
    return done.returncode, (done.stdout or b"").decode("ascii", "replace"), done.stderr.decode()


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
@pytest.mark.parametrize("arguments", [("models",), ("chips", "--json"), ("systolic", "2x2", "--matvec"), ("--help",)])
def test_a_full_disk_is_one_sentence(arguments: tuple[str, ...]) -> None:
    with FULL.open("wb") as full:
        code, _, said = ended(*arguments, out=full.fileno())
    assert (code, said) == (2, "loopline: the output cannot be read or written: No space left on device.\n")


@pytest.mark.parametrize("arguments", [("models",), ("chips", "--json"), ("compare", "--help")])
def test_a_reader_that_has_gone_is_no_mistake(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code, _, said = ended(*arguments, out=writing)
    os.close(writing)
    assert (code, said) == (0, "")


@pytest.mark.parametrize("arguments", [("systolic", "2x2", "--matvec"), ("compare", "--help"), ("chips", "tpu-v1")])
def test_a_terminal_of_ascii_is_drawn_on_with_what_it_has(arguments: tuple[str, ...]) -> None:
    code, out, said = ended(*arguments, locale=ASCII)
    assert (code, said) == (0, "")
    assert out
    assert "\ufffd" not in out


def test_a_mistake_is_a_mistake_where_nobody_can_be_told() -> None:
    with Path(os.devnull).open("rb") as unwritable:
        done = subprocess.run([*COMMAND, "compare", "none"], stdout=subprocess.PIPE, stderr=unwritable, check=False)
    assert done.returncode == 2
