"""Recursive doubling: pairs at distance 1, 2, 4, ... exchange and add their whole payload."""

from __future__ import annotations

import numpy as np

from collectives.schedule import Schedule, once


def recursive_doubling(ranks: int) -> Schedule:
    """AllReduce in lg p steps of n bytes; any rank count.

    With r ranks more than a power of two, of the first 2r every even one hands its payload to its odd neighbour
    before and gets the sum after (MPICH ``allreduce_intra_recursive_doubling``): two steps more.
    """
    power = 1 << (ranks.bit_length() - 1)
    extra = ranks - power
    core = np.concatenate([np.arange(1, 2 * extra, 2), np.arange(2 * extra, ranks)])
    even, odd = np.arange(0, 2 * extra, 2), np.arange(1, 2 * extra, 2)
    whole = np.zeros(ranks, dtype=np.int64)
    position = np.arange(power)
    exchanges = tuple(
        once(core, core[position ^ (1 << bit)], whole[:power], 1, reduce=True) for bit in range(power.bit_length() - 1)
    )
    if not extra:
        return Schedule("recursive_doubling", ranks, 1, exchanges)
    fold = once(even, odd, whole[:extra], 1, reduce=True)
    unfold = once(odd, even, whole[:extra], 1, reduce=False)
    return Schedule("recursive_doubling", ranks, 1, (fold, *exchanges, unfold))
