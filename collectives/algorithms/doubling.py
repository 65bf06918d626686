"""Doubling and halving: pairs at distance 1, 2, 4, ... exchange all they have, or half of it each time."""

from __future__ import annotations

import numpy as np

from collectives.algorithms.folded import folded
from collectives.algorithms.registry import algorithm
from collectives.schedule import Integers, Phase, Schedule, once


@algorithm("all_reduce")
def recursive_doubling(ranks: int) -> Schedule:
    """AllReduce in lg p steps of n bytes; 2 more if p is no power of two (``folded``)."""

    def exchanges(core: Integers) -> tuple[Phase, ...]:
        place, whole = np.arange(len(core)), np.zeros_like(core)
        partners = (place ^ (1 << bit) for bit in range(len(core).bit_length() - 1))
        return tuple(once(core, core[partner], whole, 1, reduce=True) for partner in partners)

    return Schedule("recursive_doubling", ranks, 1, folded(ranks, 1, exchanges))


@algorithm("all_reduce")
def halving_doubling(ranks: int) -> Schedule:
    """AllReduce in 2 lg p steps of n/2, n/4, ... and back (Rabenseifner 2004); 2 more if p is no power of two.

    The half that is exchanged shrinks as the distance doubles, so that the longest messages go between neighbours.
    """
    power = 1 << (ranks.bit_length() - 1)

    def halve_and_double(core: Integers) -> tuple[Phase, ...]:
        bits = power.bit_length() - 1
        place = np.arange(power)
        # In the end place x has the chunk whose number is x with its bits in reverse: each step decides one more.
        chunk = sum(((place >> bit & 1) << (bits - 1 - bit) for bit in range(bits)), np.zeros_like(place))
        halving, doubling = [], []
        for bit in range(bits):
            partner, length = place ^ (1 << bit), power >> (bit + 1)
            theirs = chunk[partner] // length * length
            mine = chunk // length * length
            halving.append(once(core, core[partner], theirs, length, reduce=True))
            doubling.append(once(core, core[partner], mine, length, reduce=False))
        return (*halving, *reversed(doubling))

    return Schedule("halving_doubling", ranks, power, folded(ranks, power, halve_and_double))
