"""Programs for ranks, at the top of a module, as ``run_ranks`` needs them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import cluster


class Awkward(Exception):
    """Does not survive pickling: its constructor wants more than its message."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def sums(communicator, sizes, seed):
    """AllReduce and AllGather of seeded payloads; reports each size."""
    found = []
    for size in sizes:
        communicator.report(size)
        random = np.random.default_rng([seed, communicator.rank, size])
        values = random.normal(size=(2, size)).astype(np.float32)
        summed = communicator.all_reduce(values)
        assert summed.shape == values.shape
        assert summed.dtype == np.float32
        found.append((summed.tobytes(), [given.tobytes() for given in communicator.all_gather(values)]))
    return found


def shapes(communicator):
    """Gather arrays of another shape from each rank."""
    mine = np.full((communicator.rank + 1, 2), communicator.rank, np.float32)
    return [given.tolist() for given in communicator.all_gather(mine)]


def fails(communicator, how):
    """Rank 1 fails while the others wait for it."""
    if communicator.rank == 1:
        if how == "awkward":
            raise Awkward(1, 2)
        if how == "memory":
            raise MemoryError("Unable to allocate 9.00 TiB")
        raise ValueError("rank 1 will not")
    communicator.all_gather(np.zeros(1, np.float32))


def dies(communicator, times, marks, seconds=0.0):
    """Rank 1 is killed in the middle of its run, the first ``times`` times; then all sum their ranks."""
    communicator.report("begun")
    communicator.all_gather(np.zeros(1, np.float32))
    deaths = len(list(Path(marks).iterdir()))
    communicator.all_gather(np.zeros(1, np.float32))
    if communicator.rank == 1 and deaths < times:
        (Path(marks) / str(deaths)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    until = time.monotonic() + seconds
    while communicator.all_gather(np.float32([time.monotonic() < until]))[0][0]:
        time.sleep(0.01)
    communicator.report("done")
    return communicator.all_reduce(np.array([communicator.rank + 0.1], np.float32)).tobytes()


def waits(communicator, mark):
    """All ranks are here, then nothing happens for a minute."""
    communicator.all_gather(np.zeros(1, np.float32))
    (Path(mark) / str(os.getpid())).touch()
    time.sleep(60)


def place(communicator):
    """From where this rank has its code."""
    return cluster.__file__, sys.executable
