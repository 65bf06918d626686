"""One-shot and two-shot: every rank talks to every other at once, in one step or in two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collectives.schedule import Schedule, once


def one_shot(ranks: int) -> Schedule:
    """AllReduce in 1 step: every rank sends its whole payload to all others, and each reduces for itself."""
    source, destination = _all_pairs(ranks)
    return Schedule("one_shot", ranks, 1, (once(source, destination, np.zeros_like(source), 1, reduce=True),))


def two_shot(ranks: int) -> Schedule:
    """AllReduce in 2 steps: all send chunk r to rank r, which reduces it and sends the sum to all."""
    source, destination = _all_pairs(ranks)
    scatter = once(source, destination, destination, 1, reduce=True)
    gather = once(source, destination, source, 1, reduce=False)
    return Schedule("two_shot", ranks, ranks, (scatter, gather))


def _all_pairs(ranks: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    source, distance = np.divmod(np.arange(ranks * (ranks - 1)), max(ranks - 1, 1))
    return source, (source + 1 + distance) % ranks
