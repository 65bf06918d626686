"""Measuring the links between MPI ranks, and whole schedules on them, in real seconds.

All that is timed runs through ``mpi.run``, so what is fitted is what its steps cost, Python and waiting included. Two
lines are fitted, ``latency + bytes / bandwidth``: ping-pong of two ranks while the others wait, and all ranks sending
at once. The second is what a step of a collective meets: where ranks share cores, memory or an adapter, it is slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from mpi4py import MPI
from numpy.typing import NDArray

from collectives.mpi.links import LARGE_BYTES, SMALL_BYTES, Calibration, fit_line
from collectives.mpi.run import run_on_mpi
from collectives.mpi.wait import Patience
from collectives.schedule import Messages, Phase, Schedule, once
from collectives.topology import switched

SIZES = (8, 128, 2**11, 2**15, 2**17, 2**19)  # bytes of a message
FEW_STEPS, MANY_STEPS = 2, 10  # of timed schedules: what the difference takes is steps, what is left is the start
SEVERAL = 4  # messages of a rank in a step, where the cost of one more is measured
LEAST_SECONDS = 1e-9  # of a step, where noise hides it
REPEATS = 4  # one after the other in a round, as benchmarks do, so that ranks need not start together
ROUNDS = 20  # of which the fastest counts: what else the machine does only adds
LONGEST_SECONDS = 30.0  # of measuring, after which no round begins
Numbers = TypeVar("Numbers", NDArray[np.float64], NDArray[np.int64])


class Case(NamedTuple):
    """A schedule to be timed with so many bytes a rank."""

    schedule: Schedule
    payload_bytes: int


def calibrate(
    communicator: MPI.Intracomm, cases: Sequence[Case], timeout_seconds: float, on_round: Callable[[], None]
) -> tuple[Calibration, list[float]]:
    """Measure the links of ``communicator`` and, in between, ``cases``: real seconds of each.

    ``on_round`` is called at most ``ROUNDS`` times, as work goes on. All its ranks call it, and all get the same.
    Raises ValueError for a single rank, SilentRank as ``run_on_mpi`` does.
    """
    ranks = communicator.Get_size()
    if ranks < 2:
        raise ValueError(f"a ping-pong needs 2 ranks; there is {ranks}.")
    patterns = [
        *(_ping_pong(ranks, steps) for steps in (FEW_STEPS, MANY_STEPS)),
        *(_shifts(ranks, steps) for steps in (FEW_STEPS, MANY_STEPS)),
        *(_shifts(ranks, steps, reduce=True) for steps in (FEW_STEPS, MANY_STEPS)),
        _shifts(ranks, MANY_STEPS, messages=SEVERAL),
    ]
    probes = [Case(pattern, size) for pattern in patterns for size in SIZES]
    measured = measure(communicator, [*probes, *cases], timeout_seconds, on_round)
    seconds = np.array(measured[: len(probes)]).reshape(len(patterns), len(SIZES))
    sizes = np.array(SIZES, dtype=np.float64)
    small, large = sizes <= SMALL_BYTES, sizes >= LARGE_BYTES
    alone, copied, added = np.maximum((seconds[1:6:2] - seconds[0:6:2]) / (MANY_STEPS - FEW_STEPS), LEAST_SECONDS)
    further = (seconds[6] - seconds[3]) / MANY_STEPS / (SEVERAL - 1)
    calibration = Calibration(
        alone=fit_line(sizes, alone),
        together=fit_line(sizes, copied),
        start_seconds=_at_least_0(seconds[2][small] - FEW_STEPS * copied[small]),
        message_seconds=_at_least_0(further[small]),
        reduce_seconds_per_byte=_at_least_0((added - copied)[large] / sizes[large]),
    )
    return calibration, measured[len(probes) :]


def measure(
    communicator: MPI.Intracomm, cases: Sequence[Case], timeout_seconds: float, on_round: Callable[[], None]
) -> list[float]:
    """Real seconds of the slowest rank for each case, in the fastest of some rounds; the same on all ranks.

    A round times all cases, so that whatever else the machine does meets them alike.
    """
    patience = Patience(communicator, timeout_seconds)
    fastest = np.full(len(cases), np.inf)
    since = time.perf_counter()
    for number in range(ROUNDS):
        for place, (schedule, payload_bytes) in enumerate(cases):
            payload = np.zeros(payload_bytes // 4, dtype=np.float32)
            anywhere = switched(schedule.ranks, 1e9, 0.0)  # its simulated time is of no interest
            for repeat in range(REPEATS + 1):
                if repeat == 1:  # what the first has to work out and to allocate is not counted
                    patience.meet(f"round {number} of timing {schedule.name}")
                    begin = time.perf_counter()
                run_on_mpi(schedule, anywhere, communicator, payload, timeout_seconds=timeout_seconds)
            taken = np.array([time.perf_counter() - begin]) / REPEATS
            fastest[place] = min(fastest[place], all_of(taken, communicator, patience).max())
        on_round()
        if all_of(np.array([time.perf_counter() - since]), communicator, patience).max() > LONGEST_SECONDS:
            break
    return [float(seconds) for seconds in fastest]


def all_of(value: Numbers, communicator: MPI.Intracomm, patience: Patience) -> Numbers:
    """Every rank's ``value``, of shape (1,), by rank: shape (ranks,)."""
    values: Numbers = np.empty(communicator.Get_size(), dtype=value.dtype)
    patience.wait([communicator.Iallgather(value, values)], [-1], "gathering what was measured")
    return values


def _at_least_0(values: NDArray[np.float64]) -> float:
    """Their median, where it is not hidden by noise."""
    return max(float(np.median(values)), 0.0)


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
