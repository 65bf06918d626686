"""What ranks under ``mpiexec`` leave where they are ended: processes, their driver's folder, memory that MPI shares.

Here: clearing that up, also after a driver that was killed, when the next one starts: only what the folder of the dead
one says is its own, and what no process uses. Where there is no ``/proc`` (not Linux), only folders and processes.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

PREFIX = "loopline-"  # of folders
SHARED_MEMORY = Path("/dev/shm")
OF_MPI = re.compile(r"(mpich_shm|ucx_shm_posix)_\w+")  # the names of MPICH's memory
PROCESSES = Path("/proc")


@contextmanager
def run_folder() -> Iterator[Path]:
    """A folder for one run, which is locked as long as its driver lives; it and what it notes are gone at the end."""
    _clear_after_the_dead()
    with TemporaryDirectory(prefix=PREFIX) as name:
        path = Path(name)
        with (path / "starting").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (path / "starting").rename(path / "driver")
            try:
                yield path
            finally:
                _drop_noted(path)


def note_memory(run: Path, mpiexec: subprocess.Popen[bytes]) -> None:
    """Note which memory the ranks share by a name now: until they are up, it would outlive them."""
    shared = _shared_by(_below(mpiexec.pid))
    if shared:
        (run / "memory").write_text("\n".join(sorted(shared)), encoding="utf-8")


def note_end(run: Path, rank: int, code: int) -> None:
    """Note in the folder of a run how a rank's process has ended: its exit code, or minus the signal."""
    (run / f"ended.{rank}").write_text(str(code), encoding="utf-8")


def noted_end(run: Path, rank: int) -> str:
    """How the process of a rank that gave no result has ended, in words, as far as that was noted."""
    noted = run / f"ended.{rank}"
    code = int(noted.read_text(encoding="utf-8")) if noted.exists() else 0
    if code < 0:
        return f"{signal.strsignal(-code) or 'ended'} (signal {-code})"
    return "its process ended without a result" + (f" (exit code {code})" if code else "")


def forget_shared_memory() -> None:
    """Take the names off the memory that this process shares with others, all of whom have it: it ends with them."""
    for name in _shared_by([os.getpid()]):
        (SHARED_MEMORY / name).unlink(missing_ok=True)


def end_all(mpiexec: subprocess.Popen[bytes]) -> None:
    """End ``mpiexec`` and all processes below it, and the memory that they share by a name."""
    if mpiexec.poll() is not None:
        return
    stopped: set[int] = set()
    while new := {mpiexec.pid, *_below(mpiexec.pid)} - stopped:  # stopped first, so that none starts anything meanwhile
        _signal(new, signal.SIGSTOP)
        stopped |= new
    shared = _shared_by(stopped)
    _signal(stopped, signal.SIGKILL)
    mpiexec.wait()
    for name in shared:
        (SHARED_MEMORY / name).unlink(missing_ok=True)


def _clear_after_the_dead() -> None:
    """Remove the folders of drivers that were killed, and what they note."""
    for path in Path(gettempdir()).glob(f"{PREFIX}*/driver"):
        with suppress(OSError):  # of others, or just gone
            if path.parent.lstat().st_uid == os.getuid():
                with path.open(encoding="utf-8") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _drop_noted(path.parent)
                    shutil.rmtree(path.parent, ignore_errors=True)


def _drop_noted(run: Path) -> None:
    """Remove the memory that ranks of ``run`` have shared by a name, unless a process has it still."""
    noted = run / "memory"
    names = set(noted.read_text(encoding="utf-8").split()) if noted.exists() else set()
    if names:
        for name in names - _shared_by(int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit()):
            (SHARED_MEMORY / name).unlink(missing_ok=True)


def _below(process: int) -> list[int]:
    """The processes that ``process`` has started, and those that these have."""
    parents: dict[int, int] = {}
    for entry in PROCESSES.glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    found = [process]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]


def _shared_by(processes: Iterable[int]) -> set[str]:
    """The names of MPI's memory that ``processes`` have: mapped, or open to be mapped."""
    found = set()
    for number in processes:
        with suppress(OSError):
            mapped = (PROCESSES / str(number) / "maps").read_text(encoding="utf-8").splitlines()
            found |= {line.split(maxsplit=5)[-1] for line in mapped if "/" in line}
            found |= {os.readlink(link) for link in (PROCESSES / str(number) / "fd").iterdir()}
    paths = [Path(name) for name in found]  # a name that is gone has a word behind it
    return {path.name for path in paths if path.parent == SHARED_MEMORY and OF_MPI.fullmatch(path.name)}


def _signal(processes: Iterable[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)
