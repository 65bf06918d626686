"""Programs for ranks that time themselves."""

from __future__ import annotations

import time

import numpy as np

from chips.clock.timeline import Time
from scenarios.pricing import answers_of_rank


def nothing(communicator):
    """Be there, meet once, end."""
    communicator.all_gather(np.zeros(1, np.float32))


def layers(communicator, count, hidden):
    """Seconds for each of ``count`` layers of what ranks exchange in one: two AllReduces, and the time of each."""
    values, now = np.ones((1, hidden), np.float32), Time(0, {"matmul": 0, "allreduce": 0})
    communicator.meet(now)
    began = time.perf_counter()
    for _ in range(2 * count):
        communicator.meet(now)
        communicator.all_reduce(values)
    return (time.perf_counter() - began) / count


def pricing(communicator, points):
    """Seconds for each point on a rank's own clock, after one to fill the caches."""
    answers_of_rank(communicator, points[:1])
    began = time.perf_counter()
    answers_of_rank(communicator, points)
    return (time.perf_counter() - began) / len(points)
