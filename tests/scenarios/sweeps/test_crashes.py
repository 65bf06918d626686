"""Crashes, as SQLite tests them: a full disk, an I/O error or a kill at every step on the disk; then the same end.

A step is a call that changes what the disk holds. The sweep is stopped at one step after the other; what is there may
be read at once, and the same sweep again gives the very bytes of one that nothing disturbed. ``LOOPLINE_CRASHES=200``
makes the random histories of the last test as many, and tries both errors and a kill at every step.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from damage import damaged

import loopline as ll
from results.atomic_file import OutputError
from results.errors import ReadError
from scenarios.sweeps.sweep import sweep

SCENARIO = {
    "question": "How does decode grow?",
    "model": "llama-3.2-1b",
    "chips": "h100",
    "context": {"from": 8, "to": 1360, "step": 8},
}
HISTORIES = int(os.environ.get("LOOPLINE_CRASHES", "0"))
STEPS: tuple[tuple[object, str], ...] = (
    *((os, name) for name in ("mkdir", "fsync", "replace", "unlink")),
    *((Path, name) for name in ("write_bytes", "write_text")),
)
FULL, BROKEN = (OSError(number, os.strerror(number)) for number in (errno.ENOSPC, errno.EIO))


@contextmanager
def stopped_at(step: int, stop: Callable[[], None]) -> Iterator[list[str]]:
    """``stop`` is called in the place of the ``step``-th step; the names of the steps until then.

    A file that should be written has half of its bytes by then.
    """
    taken: list[str] = []

    def guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            taken.append(name)
            if len(taken) - 1 != step:
                return original(*arguments, **options)
            if name.startswith("write"):
                path, content, *more = arguments
                original(path, content[: len(content) // 2], *more, **options)
            return stop()

        return call

    with pytest.MonkeyPatch.context() as patched:
        for owner, name in STEPS:
            patched.setattr(owner, name, guarded(name, getattr(owner, name)))
        yield taken


def failing(error: OSError) -> Callable[[], None]:
    def stop() -> None:
        raise error

    return stop


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(folder: Path, step: int) -> int:
    """The signal that ended a process that sweeps, and is killed at a step; 0 where it had come to its end before."""
    return -started(folder, step).wait()


def started(folder: Path, step: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, folder, str(step)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    sweep(SCENARIO, folder, workers=1)
    return contents(folder)


def check_end(folder: Path, undisturbed: dict[str, bytes]) -> None:
    """What is there is read right or told; the same sweep goes on to the very end of one that nothing disturbed."""
    if folder.exists():
        with suppress(ReadError):
            rows = ll.load(folder)
            assert not rows.empty
            assert rows["fits"].all()
    sweep(SCENARIO, folder, workers=1)
    assert contents(folder) == undisturbed


@pytest.mark.parametrize("errors", [[FULL, BROKEN], [BROKEN, FULL]][: 2 if HISTORIES else 1])
def test_a_sweep_whose_disk_fails_at_any_step_says_so_and_goes_on(
    tmp_path: Path, undisturbed: dict[str, bytes], errors: list[OSError]
) -> None:
    for step in count():
        folder, error, told = tmp_path / str(step), errors[step % 2], ""
        try:
            with stopped_at(step, failing(error)) as taken:
                sweep(SCENARIO, folder, workers=1)
        except OutputError as refusal:
            told = str(refusal)
        check_end(folder, undisturbed)
        if len(taken) <= step:
            break
        # What only clears up after another step may fail unheard.
        assert str(error.strerror) in told or taken[step] == "unlink"
    assert {"mkdir", "fsync", "replace", "write_bytes", "write_text"} <= set(taken)


@pytest.mark.parametrize("step", range(25) if HISTORIES else (1, 6, 11))
def test_a_sweep_that_is_killed_at_a_step_goes_on(tmp_path: Path, undisturbed: dict[str, bytes], step: int) -> None:
    ended = killed(tmp_path / "sweep", step)
    assert ended == signal.SIGKILL or (ended == 0 and step > 15)
    check_end(tmp_path / "sweep", undisturbed)


def test_starting_over_may_be_stopped_at_any_step(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    other = tmp_path / "other"
    sweep(SCENARIO | {"batch": 2}, other, workers=1)
    for step in range(1, 7):  # a step for each of two parts and the manifest, and three until there is another one
        folder = shutil.copytree(other, tmp_path / str(step))
        with stopped_at(step, failing(BROKEN)), pytest.raises(OutputError):
            sweep(SCENARIO, folder, workers=1, fresh=True)
        with suppress(ReadError):
            assert (ll.load(folder)["batch"] == 2).all()
            assert contents(folder) == contents(other)
        sweep(SCENARIO, folder, workers=1, fresh=True)
        assert contents(folder) == undisturbed


@pytest.mark.parametrize("seed", range(HISTORIES or 2))
def test_any_history_of_crashes_damages_and_second_writers_ends_the_same(
    tmp_path: Path, undisturbed: dict[str, bytes], seed: int
) -> None:
    folder, chance = tmp_path / "sweep", random.Random(seed)

    def parts() -> list[Path]:
        there = sorted(folder.glob("part-*"))
        return chance.sample(there, k=chance.randrange(len(there) + 1))

    def fail() -> None:
        with stopped_at(chance.randrange(25), failing(chance.choice((FULL, BROKEN)))), suppress(OutputError):
            sweep(SCENARIO, folder, workers=1)

    def damage() -> None:
        for part in parts():
            part.write_bytes(damaged(part.read_bytes() or b"none", chance))

    def lose() -> None:
        for part in parts():
            part.unlink()

    def two() -> None:
        other = started(folder, -1)
        with suppress(OutputError):
            for _ in range(20):
                sweep(SCENARIO, folder, workers=1)
        assert other.wait() in (0, 2)

    happen = [fail, damage, lose, lambda: killed(folder, chance.randrange(25)), two]
    for _ in range(chance.randrange(2, 6)):
        chance.choice(happen)()
    check_end(folder, undisturbed)


if __name__ == "__main__":
    with stopped_at(int(sys.argv[2]), kill):
        try:
            sweep(SCENARIO, sys.argv[1], workers=1)
        except OutputError:
            sys.exit(2)
