"""Measuring the links between MPI ranks, and whole schedules on them, in real seconds.

All that is timed runs through ``mpi.run``, so what is fitted is what its steps cost, Python and waiting included. Two
lines are fitted, ``latency + bytes / bandwidth``: ping-pong of two ranks while the others wait, and all ranks sending
at once. The second is what a step of a collective meets: where ranks share cores, memory or an adapter, it is slower.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from chips.explained_time import PICOSECONDS_PER_SECOND
from collectives.mpi import run
from collectives.mpi_wait import Patience
from collectives.price import price
from collectives.schedule import Messages, Phase, Schedule, once
from collectives.topology import switched

SIZES = tuple(2**power for power in range(3, 21, 2))  # 8 B to 512 KiB
FEW_STEPS, MANY_STEPS = 2, 10  # of timed schedules: what the difference takes is steps, what is left is the start
SEVERAL = 4  # messages of a rank in a step, where the cost of one more is measured
LEAST_SECONDS = 1e-9  # of a step, where noise hides it
LEAST_SECONDS_A_BYTE = 1e-12
SMALL_BYTES, LARGE_BYTES = 2**11, 2**15  # messages whose bytes, or whose latency, hardly count
REPEATS = 5  # one after the other in a round, as benchmarks do, so that ranks need not start together
ROUNDS = 8  # of which the fastest counts: what else the machine does only adds
Seconds = NDArray[np.float64]
Numbers = TypeVar("Numbers", NDArray[np.float64], NDArray[np.int64])


class Line(NamedTuple):
    """Seconds of a message: ``latency_seconds + bytes / bandwidth``; ``bandwidth`` in bytes/s."""

    latency_seconds: float
    bandwidth: float


class Calibration(NamedTuple):
    """What was fitted, seconds: ``alone``, a step of ping-pong; ``together``, a step in which all ranks send.

    ``start_seconds``: of a schedule, beside its steps; ``message_seconds``: of each message of a rank in a step after
    the first; ``reduce_seconds_per_byte``: of adding what came.
    """

    alone: Line
    together: Line
    start_seconds: float
    message_seconds: float
    reduce_seconds_per_byte: float

    def seconds(self, schedule: Schedule, payload_bytes: int) -> float:
        """What is predicted: ``price`` where every rank has a port as fast as when all are busy; start and messages.

        The gap between messages of a rank is LogGP's (Alexandrov et al. 1995); ``price`` has none, as chips do not.
        """
        topology = switched(schedule.ranks, self.together.bandwidth, self.together.latency_seconds)
        finish = price(schedule, topology, payload_bytes, reduce_seconds_per_byte=self.reduce_seconds_per_byte)
        further = sum(
            int(np.bincount(messages.source).max()) - 1 for *_, messages in schedule.steps() if len(messages.source)
        )
        steps = int(finish.max()) / PICOSECONDS_PER_SECOND
        return self.start_seconds + steps + further * self.message_seconds


class Case(NamedTuple):
    """A schedule to be timed with so many bytes a rank."""

    schedule: Schedule
    payload_bytes: int


def calibrate(
    communicator: MPI.Intracomm, cases: Sequence[Case], timeout_seconds: float
) -> tuple[Calibration, list[float]]:
    """Measure the links of ``communicator`` and, in between, ``cases``: real seconds of each.

    All its ranks call it, and all get the same. Raises ValueError for a single rank, SilentRank as ``mpi.run`` does.
    """
    ranks = communicator.Get_size()
    if ranks < 2:
        raise ValueError(f"a ping-pong needs 2 ranks; there is {ranks}.")
    patterns = {
        "alone": [_ping_pong(ranks, steps) for steps in (FEW_STEPS, MANY_STEPS)],
        "copied": [_shifts(ranks, steps) for steps in (FEW_STEPS, MANY_STEPS)],
        "added": [_shifts(ranks, steps, reduce=True) for steps in (FEW_STEPS, MANY_STEPS)],
    }
    several = Case(_shifts(ranks, MANY_STEPS, messages=SEVERAL), SIZES[0])
    probes = [Case(each, size) for pair in patterns.values() for each in pair for size in SIZES]
    measured = measure(communicator, [several, *probes, *cases], timeout_seconds)
    # Shape (patterns, few or many steps, sizes).
    seconds = np.array(measured[1 : 1 + len(probes)]).reshape(len(patterns), 2, len(SIZES))
    steps = np.maximum((seconds[:, 1] - seconds[:, 0]) / (MANY_STEPS - FEW_STEPS), LEAST_SECONDS)
    alone, copied, added = steps
    large = np.array(SIZES) >= LARGE_BYTES
    together = fit_line(copied)
    calibration = Calibration(
        alone=fit_line(alone),
        together=together,
        start_seconds=max(float(seconds[1, 0, 0]) - FEW_STEPS * float(copied[0]), 0.0),
        message_seconds=max((measured[0] - float(seconds[1, 1, 0])) / MANY_STEPS / (SEVERAL - 1), 0.0),
        reduce_seconds_per_byte=max(float(np.median((added - copied)[large] / np.array(SIZES)[large])), 0.0),
    )
    return calibration, measured[1 + len(probes) :]


def measure(communicator: MPI.Intracomm, cases: Sequence[Case], timeout_seconds: float) -> list[float]:
    """Real seconds of the slowest rank for each case, in the fastest of some rounds; the same on all ranks.

    A round times all cases, so that whatever else the machine does meets them alike.
    """
    patience = Patience(communicator, timeout_seconds)
    rounds = np.empty((ROUNDS, len(cases)))
    for number in range(ROUNDS):
        for place, (schedule, payload_bytes) in enumerate(cases):
            payload = np.zeros(payload_bytes // 4, dtype=np.float32)
            anywhere = switched(schedule.ranks, 1e9, 0.0)  # its simulated time is of no interest
            patience.meet(f"round {number} of timing {schedule.name}")
            begin = time.perf_counter()
            for _ in range(REPEATS):
                run(schedule, anywhere, communicator, payload, timeout_seconds=timeout_seconds)
            taken = np.array([time.perf_counter() - begin]) / REPEATS
            rounds[number, place] = all_of(taken, communicator, patience).max()
    return [float(seconds) for seconds in rounds.min(axis=0)]


def all_of(value: Numbers, communicator: MPI.Intracomm, patience: Patience) -> Numbers:
    """Every rank's ``value``, of shape (1,), by rank: shape (ranks,)."""
    values: Numbers = np.empty(communicator.Get_size(), dtype=value.dtype)
    patience.wait([communicator.Iallgather(value, values)], [-1], "gathering what was measured")
    return values


def fit_line(seconds: Seconds) -> Line:
    """The line through the times of ``SIZES``: medians, of small messages and of what large ones take longer."""
    sizes = np.array(SIZES, dtype=np.float64)
    small, large = sizes <= SMALL_BYTES, sizes >= LARGE_BYTES
    latency = float(np.median(seconds[small]))
    per_byte = float(np.median((seconds[large] - latency) / sizes[large]))
    return Line(latency, 1 / max(per_byte, LEAST_SECONDS_A_BYTE))


def _ping_pong(ranks: int, steps: int) -> Schedule:
    """Ranks 0 and 1 send the payload to and fro."""
    ends = np.array([0]), np.array([1])
    phases = tuple(once(ends[n % 2], ends[1 - n % 2], np.array([0]), 1, reduce=False) for n in range(steps))
    return Schedule("ping_pong", ranks, 1, phases)


def _shifts(ranks: int, steps: int, *, messages: int = 1, reduce: bool = False) -> Schedule:
    """In every step every rank sends the payload to the next, in so many messages."""
    rank, piece = np.tile(np.arange(ranks), messages), np.repeat(np.arange(messages), ranks)
    shift = Messages(rank, (rank + 1) % ranks, piece, 1, reduce)
    return Schedule("shifts", ranks, messages, (Phase(steps, lambda step: shift),))
