"""One rank as a process under ``mpiexec``: what ``cluster.mpiexec`` starts, with the folder of its driver.

The rank is a child of the process that ``mpiexec`` knows. Where that ends, ``mpiexec`` ends all others, and nobody can
say which was lost first; so it notes how its child has ended, and stays.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from select import poll
from threading import Lock, Thread

from cluster.errors import ClusterError, check_sendable, raised_by
from cluster.launchers import rank_here
from cluster.news import BEAT_SECONDS
from cluster.remains import forget_shared_memory, note_end
from cluster.world import ending_after, start_mpi

DRIVER_SECONDS = 10.0  # for the driver to listen, which it does before it starts any rank
LOOK_SECONDS = 0.05


class Teller:
    """This rank's end of its pipe to the driver."""

    def __init__(self, pipe: int) -> None:
        self._connection = Connection(pipe, readable=False)
        self._lock = Lock()

    def __call__(self, kind: str, item: object = None) -> None:
        with self._lock:
            self._connection.send((kind, item))

    def beat(self) -> None:
        """Tell that this rank lives, from time to time."""
        with suppress(OSError):
            while True:
                time.sleep(BEAT_SECONDS)
                self("alive")


def main(folder: Path) -> None:
    """Be the rank that the launcher says this process is, in a child, and stay until nobody asks how that ended."""
    rank = rank_here() or 0
    pipe = _opened(folder / f"rank.{rank}")
    finished, finish = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(finished)
        _be_rank(rank, pipe, finish, folder)
        os.write(finish, b".")
        return
    os.close(finish)
    told = os.read(finished, 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if told and code == 0:
        return
    with suppress(OSError):  # the driver has ended, and the folder with it
        note_end(folder, rank, code)
        with (folder / "driver").open(encoding="utf-8") as lock:
            os.close(pipe)  # the driver notices, and finds the note
            fcntl.flock(lock, fcntl.LOCK_SH)  # which the driver holds as long as it lives
    os._exit(1)


def _be_rank(rank: int, pipe: int, parent: int, folder: Path) -> None:
    """Run the task of the driver, and tell it what comes of it. ``parent``: a pipe that breaks when the parent ends."""
    tell = Teller(pipe)
    tell("process", os.getpid())
    Thread(target=tell.beat, daemon=True).start()
    Thread(target=_end_with_others, args=(pipe, parent, folder), daemon=True).start()
    task = pickle.loads((folder / "task").read_bytes())
    try:
        result = _run(tell, rank, **task)
    except BaseException as error:
        tell("raised", raised_by(error, rank, task["count"]))
        os._exit(1)  # the others may be waiting for this rank: the driver ends them
    tell("result", result)


def _opened(pipe: Path) -> int:
    """This rank's pipe, at whose other end the driver listens. Ends the process where it does not: it was killed."""
    until = time.monotonic() + DRIVER_SECONDS
    while time.monotonic() < until:
        with suppress(OSError):
            opened = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # or it would wait for a reader for ever
            os.set_blocking(opened, True)
            return opened
        time.sleep(LOOK_SECONDS)
    shutil.rmtree(pipe.parent, ignore_errors=True)
    sys.exit(1)


def _run(
    tell: Teller, rank: int, program: bytes, count: int, timeout_seconds: float, patience_seconds: float
) -> object:
    """What the program returns, once all ranks have come up and all have ended it."""
    with ending_after(patience_seconds):
        world = start_mpi()

    from cluster.mpi import MpiCommunicator
    from collectives.mpi.wait import Patience

    Patience(world, patience_seconds).meet("coming up")
    forget_shared_memory()
    tell("up")
    try:
        function, arguments = pickle.loads(program)
    except Exception as error:
        raise ClusterError(
            f"Rank {rank} cannot import the program ({error}); it has to be a function at the top of a module that "
            "other processes find."
        ) from None
    communicator = MpiCommunicator(world, lambda item: tell("report", item), timeout_seconds)
    result = function(communicator, *arguments)
    check_sendable(result, "returns", rank)
    communicator.end()
    return result


def _end_with_others(driver: int, parent: int, folder: Path) -> None:
    """Wait until nobody can read one of these pipes any more; then nobody waits for this rank.

    Without a driver, nobody clears up after it either.
    """
    watched = poll()
    for pipe in (driver, parent):
        watched.register(pipe, 0)  # errors are always told: the last reader is gone
    broken = [pipe for pipe, _ in watched.poll()]
    forget_shared_memory()
    if driver in broken:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
