"""MPI's world as this process finds it: started so that a failure is an error, and left, within a limit.

While a schedule is carried out, ranks watch each other (``collectives.mpi.wait``); here are the two ends of a run,
where MPI itself waits for a rank that may hang.
"""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from select import select
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import mpi4py

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from mpi4py import MPI

PLACE = re.compile(r"^\w+\(\d+\)\.*: *")  # in MPICH's source, in front of what it says


def start_mpi() -> MPI.Intracomm:
    """Start MPI, which waits for the other ranks of this process's launcher; their communicator.

    Raises ClusterError where MPI cannot be started.
    """
    mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ClusterError(f"mpi4py finds no MPI library: {error}") from None
    if not MPI.Is_initialized():
        try:
            # A world ends the process where it cannot be started; a session has to ask the same and gives the error.
            with _quiet():
                session = MPI.Session.Init(errhandler=MPI.ERRORS_RETURN)
        except MPI.Exception as error:
            said = [PLACE.sub("", line.strip()) for line in str(error).splitlines() if line.strip()]
            version = " ".join(MPI.Get_library_version().splitlines()[0].split())
            raise ClusterError(
                f"mpi4py's MPI ({version}) cannot talk to the launcher of this process ({said[-1].rstrip('.')}); start "
                "it with the mpiexec beside this Python."
            ) from None
        with warnings.catch_warnings():  # of variables of other launchers, which are told of in a sentence
            warnings.simplefilter("ignore")
            MPI.Init_thread(MPI.THREAD_MULTIPLE)
        session.Finalize()
    return MPI.COMM_WORLD


def late(count: int | None, seconds: float) -> str:
    """What is said of ``count`` ranks (None: nobody knows how many) that do not come up."""
    return f"{'the' if count is None else count} ranks did not all come up within {seconds:g} s: one of them hangs."


@contextmanager
def ending_after(seconds: float) -> Iterator[None]:
    """Let the system end this process if this context takes longer: MPI may be waiting for a rank that hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def watched(seconds: float, sentence: str) -> Iterator[None]:
    """Say ``sentence`` and end this process if this context takes longer.

    By a process of its own, because MPI lets no other thread run while it waits for ranks to come up.
    """
    process = os.getpid()
    read, write = os.pipe()
    if os.fork() == 0:
        os.close(write)
        if not select([read], [], [], seconds)[0]:
            os.write(2, f"loopline: {sentence}\n".encode())
            os.kill(process, signal.SIGKILL)
        os._exit(0)
    os.close(read)
    yield
    os.close(write)  # which the other process notices, as it would the end of this one
    os.wait()


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, nothing reaches the standard error of this process, of C libraries neither."""
    kept = os.dup(2)
    with TemporaryFile() as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
