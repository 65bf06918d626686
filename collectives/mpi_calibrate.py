"""Measuring the links between MPI ranks, and whole schedules on them, in real seconds.

All that is timed runs through ``mpi.run``, so what is fitted is what its steps cost, Python and waiting included. Two
lines are fitted, ``latency + bytes / bandwidth``: ping-pong of two ranks while the others wait, and all ranks sending
at once. The second is what a step of a collective meets: where ranks share cores, memory or an adapter, it is slower.
"""

from __future__ import annotations

import time
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

SIZES = tuple(2**power for power in range(3, 23, 2))  # 8 B to 2 MiB
STEPS = 8  # of a timed schedule
ROUNDS = 7  # of which the median counts
Seconds = NDArray[np.float64]
Numbers = TypeVar("Numbers", NDArray[np.float64], NDArray[np.int64])


class Line(NamedTuple):
    """Seconds of a message: ``latency_seconds + bytes / bandwidth``; ``bandwidth`` in bytes/s."""

    latency_seconds: float
    bandwidth: float


class Calibration(NamedTuple):
    """What was fitted. ``alone``: ping-pong; ``together``: all ranks at once; what adding a byte takes, seconds."""

    alone: Line
    together: Line
    reduce_seconds_per_byte: float

    def seconds(self, schedule: Schedule, payload_bytes: int) -> float:
        """What ``price`` predicts: every rank has a port, as fast as when all are busy."""
        topology = switched(schedule.ranks, self.together.bandwidth, self.together.latency_seconds)
        finish = price(schedule, topology, payload_bytes, reduce_seconds_per_byte=self.reduce_seconds_per_byte)
        return int(finish.max()) / PICOSECONDS_PER_SECOND


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
    anywhere = switched(schedule.ranks, 1e9, 0.0)  # its simulated time is of no interest
    rounds = []
    for number in range(ROUNDS + 1):
        patience.meet(f"round {number} of timing {schedule.name}")
        begin = time.perf_counter()
        run(schedule, anywhere, communicator, payload, timeout_seconds=timeout_seconds)
        taken = np.array([time.perf_counter() - begin])
        rounds.append(all_of(taken, communicator, patience).max())
    return float(np.median(rounds[1:]))  # the first also plans the schedule and touches new memory


def all_of(value: Numbers, communicator: MPI.Intracomm, patience: Patience) -> Numbers:
    """Every rank's ``value``, of shape (1,), by rank: shape (ranks,)."""
    values: Numbers = np.empty(communicator.Get_size(), dtype=value.dtype)
    patience.wait([communicator.Iallgather(value, values)], [-1], "gathering what was measured")
    return values


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
