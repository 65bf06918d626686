"""What was measured of the links between MPI ranks, and what it predicts. Needs no MPI, unlike ``calibrate``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import PICOSECONDS_PER_SECOND
from collectives.price import price
from collectives.schedule import Schedule
from collectives.topology import switched

SMALL_BYTES, LARGE_BYTES = 2**11, 2**15  # messages whose bytes, or whose latency, hardly count
LEAST_SECONDS_A_BYTE = 1e-12  # where noise hides it
Seconds = NDArray[np.float64]


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


def fit_line(sizes: Seconds, seconds: Seconds) -> Line:
    """The line through the times of messages: medians, of small ones and of what large ones take longer."""
    small, large = sizes <= SMALL_BYTES, sizes >= LARGE_BYTES
    latency = float(np.median(seconds[small]))
    per_byte = float(np.median((seconds[large] - latency) / sizes[large]))
    return Line(latency, 1 / max(per_byte, LEAST_SECONDS_A_BYTE))
