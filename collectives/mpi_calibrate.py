"""Measuring the links between MPI ranks, and whole schedules on them, in real seconds.

All that is timed runs through ``mpi.run``, so what is fitted is what its steps cost, Python and waiting included. Two
lines are fitted, ``latency + bytes / bandwidth``: ping-pong of two ranks while the others wait, and all ranks sending at
once. The second is what a step of a collective meets: where ranks share cores, memory or a network adapter, it is slower.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from collectives.mpi import run
from collectives.mpi_wait import Patience
from collectives.schedule import Messages, Phase, Schedule, once
from collectives.topology import Topology, switched

SIZES = tuple(2**power for power in range(3, 23, 2))  # 8 B to 2 MiB
STEPS = 8  # of a timed schedule
ROUNDS = 7  # of which the median counts
Seconds = NDArray[np.float64]


class Line(NamedTuple):
    """Seconds of a message: ``latency_seconds + bytes / bandwidth``; ``bandwidth`` in bytes/s."""

    latency_seconds: float
    bandwidth: float


class Calibration(NamedTuple):
    """What was fitted. ``alone``: ping-pong; ``together``: all ranks at once; what adding a byte takes, seconds."""

    alone: Line
    together: Line
    reduce_seconds_per_byte: float

    def topology(self, ranks: int) -> Topology:
        """What the ranks' links are to ``price``: a port each, as fast as when all are busy."""
        return switched(ranks, self.together.bandwidth, self.together.latency_seconds)


def calibrate(communicator: MPI.Intracomm, timeout_seconds: float) -> Calibration:
    """Measure the links of ``communicator``; all its ranks call it, and all get the same. Needs 2 ranks or more.

    Raises ValueError for a single rank, SilentRank as ``mpi.run`` does.
    """
    ranks = communicator.Get_size()
    if ranks < 2:
        raise ValueError(f"a ping-pong needs 2 ranks; there is {ranks}.")

    def a_step(schedule: Schedule) -> Seconds:
        seconds = [
            run_seconds(schedule, communicator, np.zeros(size, dtype=np.float32), timeout_seconds)
            for size in np.array(SIZES) // 4
        ]
        return np.array(seconds) / sum(phase.count for phase in schedule.phases)

    copied, added = a_step(_shifts(ranks, reduce=False)), a_step(_shifts(ranks, reduce=True))
    largest = np.array(SIZES) >= SIZES[-1] // 16
    reduction = float(np.median((added - copied)[largest] / np.array(SIZES)[largest]))
    return Calibration(fit_line(a_step(_ping_pong(ranks))), fit_line(copied), max(reduction, 0.0))


def run_seconds(
    schedule: Schedule, communicator: MPI.Intracomm, payload: NDArray[np.generic], timeout_seconds: float
) -> float:
    """Real seconds of the slowest rank to carry ``schedule`` out, median of some rounds; the same on all ranks."""
    patience = Patience(communicator, timeout_seconds)
    nowhere = switched(schedule.ranks, 1.0, 0.0)
    rounds = []
    for number in range(ROUNDS + 1):
        patience.meet(f"round {number} of timing {schedule.name}")
        begin = time.perf_counter()
        run(schedule, nowhere, communicator, payload, timeout_seconds=timeout_seconds)
        rounds.append(max(all_of(time.perf_counter() - begin, communicator, patience)))
    return float(np.median(rounds[1:]))  # the first also plans the schedule and touches new memory


def all_of(value: float, communicator: MPI.Intracomm, patience: Patience) -> list[float]:
    """Every rank's ``value``, by rank."""
    values = np.empty(communicator.Get_size())
    request = communicator.Iallgather(np.array([value]), values)
    patience.wait([request], [-1], "gathering results")
    return list(map(float, values))


def fit_line(seconds: Seconds) -> Line:
    """The line through the times of ``SIZES`` with the least relative errors, squared; no latency below 0."""
    sizes = np.array(SIZES, dtype=np.float64)
    (latency, per_byte), *_ = np.linalg.lstsq(np.column_stack([1 / seconds, sizes / seconds]), np.ones(len(SIZES)))
    if latency < 0:
        latency, per_byte = 0.0, float(np.median(seconds / sizes))
    return Line(float(latency), 1 / float(per_byte))


def _ping_pong(ranks: int) -> Schedule:
    """Ranks 0 and 1 send the payload to and fro."""
    ends = np.array([0]), np.array([1])
    phases = tuple(once(ends[n % 2], ends[1 - n % 2], np.array([0]), 1, reduce=False) for n in range(STEPS))
    return Schedule("ping_pong", ranks, 1, phases)


def _shifts(ranks: int, reduce: bool) -> Schedule:
    """Every rank sends the payload to the next, several times."""
    rank = np.arange(ranks)
    messages = Messages(rank, (rank + 1) % ranks, np.zeros_like(rank), 1, reduce)
    return Schedule("shifts", ranks, 1, (Phase(STEPS, lambda step: messages),))
