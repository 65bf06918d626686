"""Any number of ranks for algorithms that need a power of two: those too many fold their payload into a neighbour's.

With r ranks more than a power of two, of the first 2r every even one hands its payload to its odd neighbour before and
gets the sum after (MPICH ``allreduce_intra_recursive_doubling``): two steps of the whole payload.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collectives.schedule import Integers, Phase, once


def folded(ranks: int, chunks: int, core_phases: Callable[[Integers], tuple[Phase, ...]]) -> tuple[Phase, ...]:
    """``core_phases(core)`` between the ranks ``core``, a power of two many, with folds before and after if needed."""
    extra = ranks - (1 << (ranks.bit_length() - 1))
    even, odd = np.arange(0, 2 * extra, 2), np.arange(1, 2 * extra, 2)
    core = np.concatenate([odd, np.arange(2 * extra, ranks)])
    if not extra:
        return core_phases(core)
    first = np.zeros(extra, dtype=np.int64)
    fold = once(even, odd, first, chunks, reduce=True)
    unfold = once(odd, even, first, chunks, reduce=False)
    return (fold, *core_phases(core), unfold)
