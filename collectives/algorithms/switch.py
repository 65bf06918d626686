"""In-switch reduction (NVLink SHARP): the switch adds what the ranks send and multicasts the sum."""

from __future__ import annotations

import numpy as np

from collectives.algorithms.registry import algorithm
from collectives.schedule import SWITCH, Schedule, once


@algorithm("all_reduce")
def in_switch(ranks: int) -> Schedule:
    """AllReduce streamed through the switch: rank r reads chunk r reduced by it, and writes the sum to all through it.

    A rank's port carries (1 + 1/p) n each way (NCCL ``src/sym_kernels.cc``).
    """
    rank = np.arange(ranks)
    switch = np.full(ranks, SWITCH)
    whole = np.zeros(ranks, dtype=np.int64)
    phases = (
        once(rank, switch, whole, ranks, reduce=True),
        once(switch, rank, rank, 1, reduce=False),
        once(rank, switch, rank, 1, reduce=False),
        once(switch, rank, whole, ranks, reduce=False),
    )
    return Schedule("in_switch", ranks, ranks, phases if ranks > 1 else (), streamed=True)
