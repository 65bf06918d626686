"""MPI's world as this process finds it: MPI started so that a failure is an error, not the end of the process."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
