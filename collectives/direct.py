"""Kernels in which every rank reads its peers' memory directly: one-shot, two-shot and in-switch reduction.

Serving stacks run them for the small AllReduces of decoding (vLLM ``csrc/custom_all_reduce.cuh``, TensorRT-LLM,
symmetric memory in PyTorch); dataflow chips stream them into a running pipeline. A kernel that guards a stage by
barriers exchanges flags twice a stage; one whose words carry their own flags (LL, Lamport) exchanges them once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chips.spec import Dataflow, Gpu
from collectives.candidate import Candidate, Seconds
from collectives.collective_time import Library, Operation

KIB, MIB = 2**10, 2**20
# vLLM csrc/custom_all_reduce.cuh: one-shot below these payloads a rank (always for 2 ranks), two-shot above
ONE_SHOT_BELOW = {4: 512 * KIB, 8: 256 * KIB}
BARRIER_KERNEL_RANKS = 8
BARRIER_KERNEL_BYTES = 8 * MIB  # buffers that vLLM and SGLang register; larger payloads go to NCCL
SYMMETRIC_MEMORY_BYTES = 64 * MIB  # vLLM symm_mem_all_reduce for 6 and 8 chips with in-switch reduction
SYMMETRIC_MEMORY_RANKS = 6


def direct_candidates(chip: Gpu, ranks: int, payload: Seconds, library: Library) -> list[Candidate]:
    """AllReduce kernels of a serving stack beside NCCL, with the payloads for which it takes each."""
    reachable = chip.link.topology != "host" or ranks == 2
    if library == "nccl" or ranks > min(chip.link.domain, BARRIER_KERNEL_RANKS) or not reachable:
        return []
    everywhere = np.ones(payload.shape, dtype=np.bool_)
    if library == "trtllm":
        return [_one_shot(chip, ranks, payload, 1, everywhere)]
    within = payload < BARRIER_KERNEL_BYTES if library == "vllm" else payload <= BARRIER_KERNEL_BYTES
    limit = next(size for most, size in ONE_SHOT_BELOW.items() if ranks <= most)
    small = within if ranks == 2 else payload < limit
    in_switch = np.zeros(payload.shape, dtype=np.bool_)
    if library == "vllm" and chip.link.in_switch_reduction and ranks >= SYMMETRIC_MEMORY_RANKS:
        in_switch = ~small & (payload <= SYMMETRIC_MEMORY_BYTES)
    return [
        _one_shot(chip, ranks, payload, 2, small & ~in_switch),
        _two_shot(chip, ranks, payload, within & ~small & ~in_switch),
    ] + ([_multicast(chip, ranks, payload, in_switch)] if np.any(in_switch) else [])


def _one_shot(chip: Gpu, ranks: int, payload: Seconds, syncs: int, allowed: NDArray[np.bool_]) -> Candidate:
    return _direct(chip, "one_shot", syncs, (ranks - 1) * payload, allowed)


def _two_shot(chip: Gpu, ranks: int, payload: Seconds, allowed: NDArray[np.bool_]) -> Candidate:
    return _direct(chip, "two_shot", 4, 2 * (ranks - 1) / ranks * payload, allowed)


def _direct(chip: Gpu, name: str, syncs: int, wire: Seconds, allowed: NDArray[np.bool_]) -> Candidate:
    coefficients = chip.generation.collective
    sync = coefficients.sync + (coefficients.host_detour if chip.link.topology == "host" else 0.0)
    transfer = wire / (coefficients.peer_efficiency * chip.link.bandwidth)
    return Candidate(name, np.full_like(wire, syncs * sync), transfer, np.zeros_like(wire), allowed)


def _multicast(chip: Gpu, ranks: int, payload: Seconds, allowed: NDArray[np.bool_]) -> Candidate:
    """Each rank reads its share reduced by the switch and writes it to all: reduce and copy in and out are 2 stages."""
    coefficients = chip.generation.collective
    transfer = (1 + 1 / ranks) * payload / (coefficients.multicast_efficiency * chip.link.bandwidth)
    latency = np.full_like(payload, 4 * coefficients.sync)
    return Candidate("in_switch", latency, transfer, np.zeros_like(payload), allowed, host_issues=2)


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
    best = min(streamed_candidates(chip, "all_reduce", ranks, np.asarray(float(payload_bytes))), key=_total)
    return float(best.latency), float(best.seconds)


def _total(candidate: Candidate) -> float:
    return float(candidate.seconds)


def streamed_candidates(chip: Dataflow, operation: Operation, ranks: int, payload: Seconds) -> list[Candidate]:
    """Direct exchanges between dataflow chips, and between nodes of them over the scale-out network."""
    local = min(ranks, chip.link.domain)
    nodes = -(-ranks // local)
    rest, away = (local - 1) / local, (ranks - local) / ranks
    hops = max(local // 2, 1) if chip.link.topology == "ring" else 1
    per_operation: dict[str, list[tuple[str, int, float, float]]] = {
        "all_reduce": [
            ("one_shot", 1, local - 1, nodes - 1),
            ("two_shot", 2, 2 * rest, 2 * (nodes - 1) / nodes / local),
        ],
        "all_gather": [("direct", 1, rest, away)],
        "reduce_scatter": [("direct", 1, rest, away)],
        "all_to_all": [("direct", 1, rest * local / ranks, away)],
        "broadcast": [("direct", 1, local - 1, 1.0)],
        "send_receive": [("direct", 1, 1.0, 1.0)],
    }
    everywhere = np.ones(payload.shape, dtype=np.bool_)
    stages_between = 0 if nodes == 1 else 1
    return [
        Candidate(
            name,
            latency=np.full_like(payload, steps * hops * chip.timing.hop_latency),
            transfer=wire * payload * hops / chip.link.bandwidth,
            network=stages_between
            * (steps * chip.link.network_latency + outside * payload / chip.link.network_bandwidth),
            allowed=everywhere,
        )
        for name, steps, wire, outside in per_operation[operation]
    ]
