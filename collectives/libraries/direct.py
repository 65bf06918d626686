"""Kernels in which every rank reads its peers' memory directly: one-shot, two-shot and in-switch reduction.

Serving stacks run them for the small AllReduces of decoding (vLLM ``csrc/custom_all_reduce.cuh``, TensorRT-LLM,
symmetric memory in PyTorch); dataflow chips stream them into a running pipeline. A kernel that guards a stage by
barriers exchanges flags twice a stage; one whose words carry their own flags (LL, Lamport) exchanges them once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
from numpy.typing import NDArray

from chips.spec import Dataflow, Gpu
from collectives.algorithms import in_switch, one_shot, two_shot
from collectives.collective_time import Library, Operation
from collectives.host import PAIR
from collectives.libraries.candidate import Candidate, Seconds
from collectives.price import linear_cost
from collectives.schedule import Schedule
from collectives.topology import rank_bandwidth, topology_of

Mask = NDArray[np.bool_]
Offer = tuple[str, Callable[[int], Schedule], int, float, int, float]
KIB, MIB = 2**10, 2**20
# vLLM csrc/custom_all_reduce.cuh: one-shot below these payloads a rank (always for 2 ranks), two-shot above
ONE_SHOT_BELOW = {4: 512 * KIB, 8: 256 * KIB}
KERNEL_RANKS = (2, 4, 6, 8)  # group sizes for which the kernels are compiled
BARRIER_KERNEL_BYTES = 8 * MIB  # buffers that SGLang registers; larger payloads go to NCCL
SYMMETRIC_MEMORY_RANKS = 6  # vLLM reduces in the switch from so many chips on
SYMMETRIC_TWO_SHOT_RANKS = 4
LOADING_THREADS = 36 * 512  # of vLLM's and SGLang's kernels: blocks x threads, csrc/custom_all_reduce.cuh
LOAD_BYTES = 16  # of one load of a thread


def direct_candidates(chip: Gpu, ranks: int, payload: Seconds, library: Library) -> list[Candidate]:
    """AllReduce kernels of a serving stack beside NCCL, with the payloads for which it takes each."""
    if (
        library == "nccl"
        or ranks not in KERNEL_RANKS
        or ranks > chip.link.domain
        or not _reachable(chip, ranks, library)
    ):
        return []
    coefficients = chip.generation.collective
    if library == "trtllm":
        syncs, most = 1 if coefficients.flagged_words else 2, coefficients.direct_bytes
        taken = np.ones(payload.shape, dtype=np.bool_) if most is None else payload <= most
        return [_pushed(chip, one_shot, ranks, payload, syncs, taken)]
    within = payload < coefficients.barrier_bytes if library == "vllm" else payload <= BARRIER_KERNEL_BYTES
    limit = next(size for most, size in ONE_SHOT_BELOW.items() if ranks <= most)
    small = within if ranks == PAIR else payload < limit
    if library == "vllm" and chip.link.in_switch_reduction and ranks >= SYMMETRIC_MEMORY_RANKS:
        large = ~small & (payload <= coefficients.symmetric_bytes)
        return [
            _loaded(chip, one_shot, ranks, payload, small),
            _pushed(chip, in_switch, ranks, payload, 1, large),
        ]
    own = [
        _loaded(chip, one_shot, ranks, payload, small),
        _loaded(chip, two_shot, ranks, payload, within & ~small),
    ]
    if library == "vllm" and ranks == SYMMETRIC_TWO_SHOT_RANKS and coefficients.symmetric_two_shot_bytes:
        large = ~within & (payload <= coefficients.symmetric_two_shot_bytes)
        own.append(_pushed(chip, two_shot, ranks, payload, 2, large))
    return own


def _reachable(chip: Gpu, ranks: int, library: Library) -> bool:
    """Whether the stack takes its own kernels on these links: between all pairs, or for a pair.

    Over PCIe only vLLM does, for two cards (``custom_all_reduce.py``); the other two then run NCCL.
    """
    match chip.link.topology:
        case "switch" | "fully_connected":
            return True
        case "host":
            return ranks == PAIR and library == "vllm"
        case _:
            return ranks == PAIR


def _loaded(chip: Gpu, algorithm: Callable[[int], Schedule], ranks: int, payload: Seconds, allowed: Mask) -> Candidate:
    """``algorithm`` by threads that load from peers behind barriers, two exchanges of flags a stage.

    They are few, so that the bytes of their loads in flight bound the rate (Little's law), for what a hop takes: in a
    stage that sums, a thread loads from all peers at once; in one that gathers, from one after the other.
    """
    coefficients = chip.generation.collective
    cost = linear_cost(algorithm, ranks, topology_of(chip.link, ranks, 2 * (coefficients.sync + chip.hop_detour)))
    links = rank_bandwidth(chip.link, ranks)
    hop = coefficients.ll.hop + chip.hop_detour
    thread = LOADING_THREADS * LOAD_BYTES / hop if hop else inf
    in_flight = (thread * (ranks - 1), thread) if algorithm is two_shot else (thread * (ranks - 1),)
    rates = [min(coefficients.peer_efficiency * links, bound) for bound in in_flight]
    wire = cost.seconds_per_byte * links / len(rates)
    fences = (len(rates) - 1) * (ranks - 1) * coefficients.stage_peer
    return Candidate(
        algorithm.__name__,
        latency=np.full_like(payload, coefficients.kernel_start + cost.latency_seconds + fences),
        transfer=sum(wire / rate for rate in rates) * payload,
        network=np.zeros_like(payload),
        allowed=allowed,
    )


def _pushed(
    chip: Gpu, algorithm: Callable[[int], Schedule], ranks: int, payload: Seconds, syncs: int, allowed: Mask
) -> Candidate:
    """``algorithm`` with ``syncs`` exchanges of flags a step, at the rate of direct stores or of multicast."""
    coefficients = chip.generation.collective
    cost = linear_cost(algorithm, ranks, topology_of(chip.link, ranks, syncs * (coefficients.sync + chip.hop_detour)))
    multicast = algorithm is in_switch
    efficiency = coefficients.multicast_efficiency if multicast else coefficients.peer_efficiency
    return Candidate(
        algorithm.__name__,
        latency=np.full_like(payload, coefficients.kernel_start + cost.latency_seconds),
        transfer=cost.seconds_per_byte / efficiency * payload,
        network=np.zeros_like(payload),
        allowed=allowed,
        host_issues=2 if multicast else 1,  # the copy into symmetric memory is a call of its own
    )


def streamed_all_reduce(chip: Dataflow, ranks: int, payload_bytes: float) -> tuple[float, float]:
    """AllReduce streamed from on-chip memory to remote on-chip memory inside a running kernel: (latency, seconds).

    ``latency`` is when the first reduced tile is there, ``seconds`` when the whole payload is: a pipeline stage
    behind it starts after the first and is fed at ``payload / (seconds - latency)``. The better of one-shot (every
    chip sends its tile to all, one hop) and two-shot (reduce, then gather, two hops). Raises ValueError for ranks < 1.
    """
    if ranks < 1:
        raise ValueError(f"a collective of {ranks} ranks was asked for; at least 1 is needed.")
    if ranks == 1:
        return 0.0, 0.0
    candidates = streamed_candidates(chip, "all_reduce", ranks, np.asarray([0.0, payload_bytes]))
    latency, seconds = min((candidate.seconds for candidate in candidates), key=lambda times: float(times[1]))
    return float(latency), float(seconds)


def streamed_candidates(chip: Dataflow, operation: Operation, ranks: int, payload: Seconds) -> list[Candidate]:
    """Direct exchanges between dataflow chips, and between nodes of them over the scale-out network.

    All but AllReduce are made of the steps of two-shot, a scatter and a gather; send_receive is one message.
    """
    link = chip.link
    local = min(ranks, link.domain)
    nodes = -(-ranks // local)
    away, between = (ranks - local) / ranks, (nodes - 1) / nodes / local
    # name, algorithm, its ranks, the share of its cost that the operation has, messages and bytes between nodes
    half: list[Offer] = [("direct", two_shot, local, 0.5, 1, between)]
    offered: dict[Operation, list[Offer]] = {
        "all_reduce": [
            ("one_shot", one_shot, local, 1.0, 1, float(nodes - 1)),
            ("two_shot", two_shot, local, 1.0, 2, 2 * between),
        ],
        "all_gather": half,
        "reduce_scatter": half,
        "all_to_all": [("direct", two_shot, local, 0.5, 1, away)],
        "broadcast": [("two_shot", two_shot, local, 1.0, 2, 2 * between)],
        "send_receive": [("direct", one_shot, min(local, 2), 1.0, 1, 1.0)],
    }
    candidates = []
    for name, algorithm, members, share, steps, outside in offered[operation]:
        cost = linear_cost(algorithm, members, topology_of(link, members, chip.timing.hop_latency))
        network = steps * link.network_latency + outside * payload / link.network_bandwidth
        candidates.append(
            Candidate(
                name,
                latency=np.full_like(payload, share * cost.latency_seconds),
                transfer=share * cost.seconds_per_byte * payload,
                network=network if nodes > 1 else np.zeros_like(payload),
                allowed=np.ones(payload.shape, dtype=np.bool_),
            )
        )
    return candidates
