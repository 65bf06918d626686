"""Programs for ranks, at the top of a module, as ``run_ranks`` needs them."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from chips.clock.time import Time
from cluster.communicator import Communicator
from cluster.together import run_together


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


def unequal(communicator, how):
    """Ranks that do not make the same calls."""
    first, ones = communicator.rank == 0, np.ones(4, np.float32)
    if how == "fewer calls":
        for _ in range(1 if first else 2):
            communicator.all_reduce(ones)
    elif how == "kinds":
        communicator.all_gather(ones) if first else communicator.all_reduce(ones)
    elif how == "a clock":
        communicator.meet(Time.zero) if first else communicator.all_gather(ones)
    elif how == "shapes":
        communicator.all_reduce(np.ones(5 if first else 4, np.float32))
    elif how == "dtypes":
        communicator.all_reduce(ones.astype(np.int64 if first else np.float32))
    elif how == "together":
        run_together(communicator, [partial(walk, rounds=1, size=4)] * (1 if first else 2))
    elif first:
        return communicator.rank
    return communicator.all_reduce(ones)[0]


def leaves(communicator, how):
    """Rank 1 ends in a way of its own while the others wait for it, or gives what cannot be sent."""
    if communicator.rank == 1:
        if how == "exits":
            sys.exit(3)
        if how == "hangs":
            time.sleep(3600)
        if how == "returns":
            return lambda: 1
    if communicator.rank == 0 and how == "reports":
        communicator.report(lambda: 1)
    return communicator.all_reduce(np.zeros(1, np.float32))


def gives(communicator, size):
    """Rank 0 reports, and every rank returns, that many bytes."""
    communicator.report(b"r" * size)
    return b"x" * size


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


def dies_with_parents_named(communicator, folder):
    """Rank 1 is killed when every rank has left the numbers of its process and of the two that started it."""
    number = os.getpid()
    for _ in range(3):
        (Path(folder) / str(number)).touch()
        number = int((Path("/proc") / str(number) / "stat").read_text().rpartition(")")[2].split()[1])
    communicator.all_gather(np.zeros(1, np.float32))
    if communicator.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    communicator.all_gather(np.zeros(1, np.float32))


def shared_names(communicator):
    """Names that the memory of MPI has, in this process, in the system; and all that this process has of it."""
    communicator.all_gather(np.zeros(1, np.float32))
    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/dev/shm/" in line]
    return [line for line in lines if not line.endswith("(deleted)")], lines


def stops(communicator, whom):
    """Every rank but those after ``whom`` stops itself, so that none of them waits for another."""
    communicator.all_gather(np.zeros(1, np.float32))
    if communicator.rank <= whom:
        os.kill(os.getpid(), signal.SIGSTOP)
    return communicator.rank


def vanishes(communicator, code):
    """Rank 1 ends its process, and nobody is told."""
    communicator.all_gather(np.zeros(1, np.float32))
    if communicator.rank == 1:
        os._exit(code)
    return communicator.all_gather(np.zeros(1, np.float32))


def waits(communicator, mark):
    """All ranks are here, then nothing happens for a minute."""
    communicator.all_gather(np.zeros(1, np.float32))
    (Path(mark) / str(os.getpid())).touch()
    time.sleep(60)


def place(communicator):
    """Whether this rank was given the code (it may have its own as well), and by what it runs."""
    given = [path for path in sys.path if "py_modules" in path and Path(path, "cluster", "__init__.py").is_file()]
    return bool(given), sys.executable


def walk(communicator, rounds, size):
    """Sum what the sum before left, ``rounds`` times; then gather."""
    values = np.random.default_rng([communicator.rank, size]).normal(size=size).astype(np.float32)
    for _ in range(rounds):
        values = communicator.all_reduce(values) / np.float32(communicator.ranks + communicator.rank)
    return [given.tobytes() for given in communicator.all_gather(values)]


def clock(communicator, meetings, labels=3):
    """A clock that each rank drives at another pace, and that meets the others'."""
    time = Time.zero
    for number in range(meetings):
        label = f"{number * communicator.ranks % labels}".rjust(40)
        spent = 100 + (communicator.rank + number) % communicator.ranks
        time = communicator.meet(Time(time.ps + spent, time.path | {label: time.path.get(label, 0) + spent}))
    return time.ps, time.parts


PROGRAMS = (partial(walk, rounds=5, size=7), partial(clock, meetings=9), partial(clock, meetings=2, labels=200))
PROGRAMS += (partial(walk, rounds=3, size=3000), partial(clock, meetings=60, labels=60))


def one_by_one(communicator):
    return [program(communicator) for program in PROGRAMS]


def all_together(communicator):
    return run_together(communicator, PROGRAMS)


class Counting(Communicator):
    """Counts the exchanges of another communicator."""

    def __init__(self, whole):
        self.whole, self.rank, self.ranks, self.exchanges = whole, whole.rank, whole.ranks, 0

    def exchange(self, requests):
        self.exchanges += 1
        return self.whole.exchange(requests)

    def report(self, item):
        self.whole.report(item)


def exchanges_together(communicator):
    """How often the rank exchanged something for 5 sums and a gather, 9 meetings, and 2 meetings."""
    counting = Counting(communicator)
    run_together(counting, PROGRAMS[:3])
    return counting.exchanges


def fail_together(communicator):
    """Of two programs of rank 1, one fails."""

    def fail(part):
        part.all_gather(np.zeros(1, np.float32))
        if part.rank == 1:
            raise ValueError("not together")
        return part.all_gather(np.zeros(1, np.float32))

    return run_together(communicator, [partial(clock, meetings=50), fail])
