"""Direct exchanges: every rank talks to every other at once, in one step or in two."""

from __future__ import annotations

import numpy as np

from collectives.algorithms.registry import algorithm
from collectives.schedule import Integers, Phase, Schedule, once


@algorithm("all_reduce")
def one_shot(ranks: int) -> Schedule:
    """AllReduce in 1 step: every rank sends its whole payload to all others, and each reduces for itself."""
    source, destination = _all_pairs(ranks)
    return Schedule("one_shot", ranks, 1, (once(source, destination, np.zeros_like(source), 1, reduce=True),))


@algorithm("all_reduce")
def two_shot(ranks: int) -> Schedule:
    """AllReduce in 2 steps: all send chunk r to rank r, which reduces it and sends the sum to all."""
    return Schedule("two_shot", ranks, ranks, (_scatter(ranks), _gather(ranks)))


@algorithm("reduce_scatter", "direct")
def direct_reduce_scatter(ranks: int) -> Schedule:
    """ReduceScatter in 1 step: all send chunk r to rank r."""
    return Schedule("direct", ranks, ranks, (_scatter(ranks),), operation="reduce_scatter")


@algorithm("all_gather", "direct")
def direct_all_gather(ranks: int) -> Schedule:
    """AllGather in 1 step: rank r sends chunk r to all."""
    return Schedule("direct", ranks, ranks, (_gather(ranks),), operation="all_gather")


@algorithm("broadcast", "direct")
def direct_broadcast(ranks: int) -> Schedule:
    """Broadcast in 2 steps: rank 0 deals out chunks, and every rank sends its own to all (scatter and AllGather)."""
    others = np.arange(1, ranks)
    scatter = once(np.zeros_like(others), others, others, 1, reduce=False)
    source, destination = _all_pairs(ranks)
    needed = destination > 0
    gather = once(source[needed], destination[needed], source[needed], 1, reduce=False)
    return Schedule("direct", ranks, ranks, (scatter, gather), operation="broadcast")


@algorithm("all_to_all", "direct")
def direct_all_to_all(ranks: int) -> Schedule:
    """AllToAll in 1 step: n/p bytes between any two ranks, all at once."""
    source, destination = _all_pairs(ranks)
    phases = (once(source, destination, source * ranks + destination, 1, reduce=False),)
    return Schedule("direct", ranks, ranks**2, phases, operation="all_to_all")


@algorithm("all_to_all", "pairwise")
def pairwise_all_to_all(ranks: int) -> Schedule:
    """AllToAll in p-1 steps: in step s every rank sends n/p bytes to the rank s places on (MPICH, long messages)."""
    rank = np.arange(ranks)
    partners = ((rank + distance) % ranks for distance in range(1, ranks))
    phases = tuple(once(rank, partner, rank * ranks + partner, 1, reduce=False) for partner in partners)
    return Schedule("pairwise", ranks, ranks**2, phases, operation="all_to_all")


def _scatter(ranks: int) -> Phase:
    source, destination = _all_pairs(ranks)
    return once(source, destination, destination, 1, reduce=True)


def _gather(ranks: int) -> Phase:
    source, destination = _all_pairs(ranks)
    return once(source, destination, source, 1, reduce=False)


def _all_pairs(ranks: int) -> tuple[Integers, Integers]:
    source, distance = np.divmod(np.arange(ranks * (ranks - 1)), max(ranks - 1, 1))
    return source, (source + 1 + distance) % ranks
