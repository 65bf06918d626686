"""NCCL: rings, trees and in-switch reduction under its protocols LL, LL128 and Simple.

All move the payload in chunks through a pipeline of ranks. A collective costs its startup, a hop for every dependent
step, its busiest link's bytes at the protocol's rate, the filling of that pipeline with one chunk (no more than the
channels' buffers hold), and the copy of the chunk that a rank keeps. Steps and bytes are those of the algorithms
(NCCL ``src/graph/tuning.cc``; Thakur et al. 2005); rates and latencies come from the chip's generation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np

from chips.spec import Gpu
from collectives.collective_time import Operation
from collectives.host import is_staged
from collectives.libraries.candidate import Candidate, Seconds
from collectives.topology import rank_bandwidth

TREE_BANDWIDTH = 0.92  # of the ring's: NCCL tuning.cc
PAT_BANDWIDTH = 0.75  # of the ring's: NCCL tuning.cc
LINK_SHARE = {"ll": 0.5, "ll128": 0.92, "simple": 1.0}  # payload of what a link carries: NCCL tuning.cc
NETWORK_EFFICIENCY = 0.97  # a 400 Gb/s adapter (ConnectX-7) carries 48.5 of 50 GB/s: SimAI
# A step between nodes over a tree's with LL (network_software): 2.7, 4, 14 and 5, 8.5, 14 us, NVLSTree 20.9: tuning.cc
RING_NETWORK_STEP = {"ll": 0.54, "ll128": 0.8, "simple": 2.8}
TREE_NETWORK_STEP = {"ll": 1.0, "ll128": 1.7, "simple": 2.8}
NVLS_NETWORK_STEP = 4.2


@dataclass(frozen=True)
class Traffic:
    """What one algorithm asks of a rank's links: dependent steps, and bytes as fractions of the payload.

    ``wire``: through the rank's link in the domain; ``chunk``: what fills the pipeline; ``kept``: what a rank copies
    to itself; ``network_steps``, ``network_wire``: the same between nodes, bytes per rank's share of the network.
    """

    steps: float
    wire: float
    chunk: float
    kept: float
    network_steps: float = 0.0
    network_wire: float = 0.0


def nccl_candidates(chip: Gpu, operation: Operation, ranks: int, payload: Seconds) -> list[Candidate]:
    """Everything that NCCL's tuner weighs for one operation between ``ranks`` chips."""
    if operation == "all_to_all":
        return _exchanges(chip, ranks, payload)
    # LL128 relies on stores of 128 bytes that stay whole on NVLink, but not on PCIe.
    offered = ("ll", "simple") if chip.link.topology == "host" else ("ll", "ll128", "simple")
    return [
        _candidate(chip, f"{algorithm} {protocol}", _pace(chip, ranks, protocol, algorithm), traffic, payload)
        for algorithm, traffic in algorithm_traffic(chip, operation, ranks).items()
        for protocol in (offered if algorithm != "pat" else ("simple",))
    ] + _in_switch(chip, operation, ranks, payload)


@dataclass(frozen=True)
class Pace:
    """A protocol on a chip's links: seconds to start, a hop and a step between nodes, payload bytes/s in the domain and
    between nodes."""

    startup: float
    hop: float
    network_step: float
    bandwidth: float
    network_bandwidth: float


def _pace(chip: Gpu, ranks: int, name: str, algorithm: str = "ring") -> Pace:
    """The slower of the protocol's channels and its share of the link."""
    coefficients = chip.generation.collective
    protocols = {"ll": coefficients.ll, "ll128": coefficients.ll128, "simple": coefficients.simple}
    staged = is_staged(chip.link, ranks)
    share = coefficients.staged_ll_share if name == "ll" and staged else LINK_SHARE[name]
    link = share * chip.link_efficiency * rank_bandwidth(chip.link, ranks)
    protocol = protocols[name]
    software = (TREE_NETWORK_STEP if algorithm == "tree" else RING_NETWORK_STEP)[name] * coefficients.network_software
    return Pace(
        protocol.startup,
        protocol.hop + chip.hop_detour + (coefficients.staging_detour if staged else 0.0),
        software + chip.link.network_latency,
        min(protocol.bandwidth or link, link),
        LINK_SHARE[name] * NETWORK_EFFICIENCY * chip.link.network_bandwidth,
    )


def algorithm_traffic(chip: Gpu, operation: Operation, ranks: int) -> dict[str, Traffic]:
    """Rings over all ranks; beyond one domain also trees, which take logarithmically many steps between nodes.

    The adapters of a node share what crosses its boundary: of a ring, all that any link of it carries; of a tree, what
    a node passes on. Nodes of a single rank also gather and scatter in logarithmically many steps (PAT).
    """
    local = min(ranks, chip.link.domain)
    nodes = ceil(ranks / local)
    rest, levels = (ranks - 1) / ranks, ceil(log2(nodes))
    outside = (nodes - 1) / nodes / local
    around = rest / local if nodes > 1 else 0.0
    match operation:
        case "all_reduce":
            ring = Traffic(2 * (ranks - nodes), 2 * rest, 1 / ranks, 1 / ranks, 2 * (nodes - 1), 2 * around)
            tree = Traffic(2 * (local - 1), 2, 1 / local, 0, 2 * levels, 2 * outside / TREE_BANDWIDTH)
            return {"ring": ring} if nodes == 1 else {"ring": ring, "tree": tree}
        case "all_gather" | "reduce_scatter":
            ring = Traffic(ranks - nodes, rest, 1 / ranks, 1 / ranks, nodes - 1, around)
            parallel = Traffic(0, 0, 0, 1 / ranks, levels, around / PAT_BANDWIDTH)
            return {"ring": ring, "pat": parallel} if nodes == ranks > 1 else {"ring": ring}
        case "broadcast":
            chain = Traffic(ranks - nodes, 1, 0, 0, nodes - 1, around / rest)
            tree = Traffic(local - 1, 1, 0, 0, levels, outside / TREE_BANDWIDTH)
            return {"ring": chain} if nodes == 1 else {"ring": chain, "tree": tree}
        case _:
            return {"direct": Traffic(1, 1, 0, 0) if nodes == 1 else Traffic(0, 0, 0, 0, 1, 1)}


def _candidate(
    chip: Gpu, name: str, pace: Pace, traffic: Traffic, payload: Seconds, channel: Seconds | float = 0.0
) -> Candidate:
    """``channel``: seconds that one channel alone takes for what it carries, where the links would be faster."""
    coefficients = chip.generation.collective
    over_host = chip.link.topology == "host"
    window = coefficients.host_window_bytes if over_host else coefficients.window_bytes
    filling = np.minimum(traffic.chunk * payload, window)
    # A copy reads and writes every byte, so it has half of the memory's bandwidth at most.
    kept = traffic.kept * payload / min(coefficients.copy_bandwidth, chip.memory.bandwidth / 2)
    inside = np.maximum((traffic.wire * payload + filling) / pace.bandwidth + kept, channel)
    outside = traffic.network_wire * payload / pace.network_bandwidth
    return Candidate(
        name,
        latency=np.full_like(payload, pace.startup + traffic.steps * pace.hop),
        transfer=inside,
        network=traffic.network_steps * pace.network_step + np.maximum(outside - inside, 0.0),
        allowed=np.ones(payload.shape, dtype=np.bool_),
    )


def _in_switch(chip: Gpu, operation: Operation, ranks: int, payload: Seconds) -> list[Candidate]:
    """NVLS: the switch reduces what the ranks read and multicasts what they write; a rank sends (1 + 1/p) n."""
    coefficients, local = chip.generation.collective, min(ranks, chip.link.domain)
    if operation != "all_reduce" or not chip.link.in_switch_reduction or local < coefficients.nvls_least_ranks:
        return []
    nodes = ceil(ranks / local)
    between = 2 * (nodes - 1) / nodes / local / TREE_BANDWIDTH
    traffic = Traffic(2, 1 + 1 / local, 1, 0, 2 * ceil(log2(nodes)), between)
    rate = coefficients.nvls_efficiency * rank_bandwidth(chip.link, ranks)
    network_step = NVLS_NETWORK_STEP * coefficients.network_software + chip.link.network_latency
    simple = _pace(chip, ranks, "simple")
    hop = coefficients.nvls_step * local
    pace = replace(simple, hop=hop, network_step=network_step, bandwidth=rate)
    return [_candidate(chip, "nvls simple" if nodes == 1 else "nvls_tree simple", pace, traffic, payload)]


def _exchanges(chip: Gpu, ranks: int, payload: Seconds) -> list[Candidate]:
    """All pairs at once: LL over one channel a peer, or Simple over all channels."""
    coefficients = chip.generation.collective
    local = min(ranks, chip.link.domain)
    away = (ranks - local) / ranks
    traffic = Traffic(1, (local - 1) / ranks, 1 / ranks, 1 / ranks, 1.0 if away else 0.0, away)
    pace = replace(_pace(chip, ranks, "simple"), hop=coefficients.exchange_step)
    simple = _candidate(chip, "direct simple", pace, traffic, payload)
    one_channel = payload / ranks / coefficients.channel_bandwidth
    return [simple, _candidate(chip, "direct ll", _pace(chip, ranks, "ll"), traffic, payload, one_channel)]
