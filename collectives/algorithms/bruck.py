"""Bruck's algorithms: what ranks gather or exchange goes to ranks at distance 1, 2, 4, ..., whatever their number.

Bruck et al., "Efficient algorithms for all-to-all communications in multiport message-passing systems", IEEE TPDS 1997.
"""

from __future__ import annotations

import numpy as np

from collectives.algorithms.registry import algorithm
from collectives.schedule import Integers, Phase, Schedule, once


@algorithm("all_reduce")
def bruck(ranks: int) -> Schedule:
    """AllReduce in 2 ceil(lg p) steps: Bruck's AllGather run backwards, adding, and then forwards."""
    return Schedule("bruck", ranks, ranks, (*_scatter(ranks), *_gather(ranks)))


@algorithm("reduce_scatter", "bruck")
def bruck_reduce_scatter(ranks: int) -> Schedule:
    """ReduceScatter in ceil(lg p) steps of n/2, n/4, ... bytes."""
    return Schedule("bruck", ranks, ranks, _scatter(ranks), operation="reduce_scatter")


@algorithm("all_gather", "bruck")
def bruck_all_gather(ranks: int) -> Schedule:
    """AllGather in ceil(lg p) steps: each time a rank doubles the run of chunks that it has, from its own on."""
    return Schedule("bruck", ranks, ranks, _gather(ranks), operation="all_gather")


@algorithm("all_to_all", "bruck")
def bruck_all_to_all(ranks: int) -> Schedule:
    """AllToAll in ceil(lg p) steps of about n/2 bytes: in step k travels all whose way has bit k, 2**k places on."""
    phases = []
    for bit in range((ranks - 1).bit_length()):
        way = np.arange(ranks)[np.arange(ranks) >> bit & 1 == 1]  # to how many places on
        holder, way = (grid.ravel() for grid in np.meshgrid(np.arange(ranks), way, indexing="ij"))
        origin = (holder - (way & ((1 << bit) - 1))) % ranks  # lower bits are behind it
        chunk = origin * ranks + (origin + way) % ranks
        phases.append(once(holder, (holder + (1 << bit)) % ranks, chunk, 1, reduce=False))
    return Schedule("bruck", ranks, ranks**2, tuple(phases), operation="all_to_all")


def _gather(ranks: int) -> tuple[Phase, ...]:
    return tuple(once(rank, behind, first, length, reduce=False) for rank, behind, first, length in _runs(ranks))


def _scatter(ranks: int) -> tuple[Phase, ...]:
    backwards = reversed(_runs(ranks))
    return tuple(once(behind, rank, first, length, reduce=True) for rank, behind, first, length in backwards)


def _runs(ranks: int) -> list[tuple[Integers, Integers, Integers, Integers]]:
    """(rank, the rank 2**k behind it, first chunk, chunks) of each step's messages: a run of chunks from its own on.

    A run that goes past the last chunk goes on at chunk 0, in a message of its own.
    """
    steps = []
    for bit in range((ranks - 1).bit_length()):
        rank = np.arange(ranks)
        length = min(1 << bit, ranks - (1 << bit))
        until_end = np.minimum(length, ranks - rank)
        wraps = until_end < length
        sender = np.concatenate([rank, rank[wraps]])
        first = np.concatenate([rank, np.zeros_like(rank[wraps])])
        chunks = np.concatenate([until_end, (length - until_end)[wraps]])
        steps.append((sender, (sender - (1 << bit)) % ranks, first, chunks))
    return steps
