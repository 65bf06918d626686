"""Physical lower bounds of collectives: bytes that must cross a chip's links, and one dependent step."""

from __future__ import annotations

from math import ceil

import numpy as np

from chips.spec import Dataflow, Gpu
from collectives.collective_time import Operation
from collectives.libraries.candidate import Seconds
from collectives.topology import rank_bandwidth


def bound_seconds(chip: Gpu | Dataflow, operation: Operation, ranks: int, payload: Seconds) -> Seconds:
    """No group of these chips is faster, whatever the algorithm.

    AllReduce: every rank receives what the others contribute, 2(p-1)/p n in all when ranks reduce and n when the
    switch does; between nodes, 2(k-1)/k n over the adapters of a node. Others: what a rank must receive or send.
    Latency: one step between neighbours of the domain, one message on the network beyond it.
    """
    local = min(ranks, chip.link.domain)
    nodes = ceil(ranks / local)
    rest, outside = (ranks - 1) / ranks, (nodes - 1) / nodes / local
    reduced_by_switch = chip.link.in_switch_reduction or nodes > 1
    inside, network = {
        "all_reduce": (1.0 if reduced_by_switch else 2 * rest, 2 * outside),
        "all_gather": (rest if nodes == 1 else 0.0, outside),
        "reduce_scatter": (rest if nodes == 1 else 0.0, outside),
        "all_to_all": ((local - 1) / ranks, (ranks - local) / ranks),
        "broadcast": (1.0 if nodes == 1 else 0.0, outside),
        "send_receive": (1.0 if nodes == 1 else 0.0, 1.0 if nodes > 1 else 0.0),
    }[operation]
    first = chip.hop_latency if nodes == 1 else chip.link.network_latency
    return np.maximum(
        first,
        np.maximum(
            inside * payload / rank_bandwidth(chip.link, ranks), network * payload / chip.link.network_bandwidth
        ),
    )
