"""Ring: every rank passes chunks to its neighbour, p-1 steps to reduce them and p-1 to spread the sums."""

from __future__ import annotations

import numpy as np

from collectives.schedule import Messages, Phase, Schedule


def ring(ranks: int) -> Schedule:
    """AllReduce in 2(p-1) steps of n/p bytes, each between neighbours (Patarasuk and Yuan 2009)."""
    rank = np.arange(ranks)
    after = (rank + 1) % ranks

    def reduce_scatter(step: int) -> Messages:
        return Messages(rank, after, (rank - step) % ranks, 1, reduce=True)

    def all_gather(step: int) -> Messages:
        return Messages(rank, after, (rank + 1 - step) % ranks, 1, reduce=False)

    return Schedule("ring", ranks, ranks, (Phase(ranks - 1, reduce_scatter), Phase(ranks - 1, all_gather)))
