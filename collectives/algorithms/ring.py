"""Rings: every rank passes chunks to its neighbour, p-1 steps to reduce them and p-1 to spread the sums."""

from __future__ import annotations

import numpy as np

from collectives.algorithms.combine import pipelined, shifted, side_by_side
from collectives.algorithms.registry import algorithm
from collectives.schedule import Messages, Phase, Schedule, once


@algorithm("all_reduce")
def ring(ranks: int) -> Schedule:
    """AllReduce in 2(p-1) steps of n/p bytes, each between neighbours (Patarasuk and Yuan 2009)."""
    return Schedule("ring", ranks, ranks, (*_scatter(ranks), *_gather(ranks)))


@algorithm("all_reduce")
def bidirectional_ring(ranks: int) -> Schedule:
    """Two rings at once, each with half of the payload, one clockwise and one counter-clockwise: every link is busy."""
    halves = [
        [shifted(phase, half * ranks) for phase in (*_scatter(ranks, turn), *_gather(ranks, turn))]
        for half, turn in enumerate((1, -1))
    ]
    return Schedule("bidirectional_ring", ranks, 2 * ranks, side_by_side(halves))


@algorithm("reduce_scatter", "ring")
def ring_reduce_scatter(ranks: int) -> Schedule:
    """ReduceScatter in p-1 steps of n/p bytes."""
    return Schedule("ring", ranks, ranks, _scatter(ranks), operation="reduce_scatter")


@algorithm("all_gather", "ring")
def ring_all_gather(ranks: int) -> Schedule:
    """AllGather in p-1 steps of n/p bytes."""
    return Schedule("ring", ranks, ranks, _gather(ranks), operation="all_gather")


@algorithm("broadcast", "ring")
def ring_broadcast(ranks: int, pieces: int = 16) -> Schedule:
    """Broadcast down a chain of neighbours, pipelined in ``pieces``: p-2+c steps of n/c bytes."""

    rank = np.arange(ranks - 1)
    phases = pipelined(rank, rank + 1, rank, np.zeros(ranks - 1, dtype=np.bool_), pieces)
    return Schedule("ring", ranks, pieces, phases, operation="broadcast")


@algorithm("send_receive", "ring")
def neighbour_exchange(ranks: int) -> Schedule:
    """Every rank sends its whole payload to the next and receives that of the one before (nccl-tests ``sendrecv``)."""
    rank = np.arange(ranks)
    phases = (once(rank, (rank + 1) % ranks, rank, 1, reduce=False),) if ranks > 1 else ()
    return Schedule("ring", ranks, ranks, phases, operation="send_receive")


def _scatter(ranks: int, turn: int = 1) -> tuple[Phase, ...]:
    """p-1 steps after which rank r has the sum of chunk r; ``turn`` 1 or -1 is the direction."""
    rank = np.arange(ranks)
    after = (rank + turn) % ranks
    return (Phase(ranks - 1, lambda step: Messages(rank, after, (rank - turn * (step + 1)) % ranks, 1, reduce=True)),)


def _gather(ranks: int, turn: int = 1) -> tuple[Phase, ...]:
    """p-1 steps that spread chunk r of every rank r to all."""
    rank = np.arange(ranks)
    after = (rank + turn) % ranks
    return (Phase(ranks - 1, lambda step: Messages(rank, after, (rank - turn * step) % ranks, 1, reduce=False)),)
