"""How a run between MPI ranks ends when one of them hangs where MPI itself waits: as ranks come up, and as they leave.

While a schedule is carried out, ranks watch each other (``collectives.mpi.wait``); here are the two ends.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from select import select
from typing import TYPE_CHECKING

from cluster.errors import ClusterError

if TYPE_CHECKING:
    from types import FrameType


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
def must_start_within(seconds: float, count: int) -> Iterator[Callable[[], object]]:
    """Raise ClusterError in this context if what it gives is not called in time."""

    def too_late(number: int, frame: FrameType | None) -> None:
        raise ClusterError(late(count, seconds))

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
