"""Swing: recursive halving and doubling whose partners swing left and right, so that on a torus they stay near.

De Sensi et al., "Swing: Short-cutting Rings for Higher Bandwidth Allreduce", NSDI 2024 (arXiv 2401.09356).
"""

from __future__ import annotations

from math import prod

import numpy as np

from collectives.algorithms.combine import shifted, side_by_side
from collectives.algorithms.folded import folded
from collectives.algorithms.registry import algorithm
from collectives.algorithms.torus import even_sides
from collectives.schedule import Integers, Phase, Schedule, once


@algorithm("all_reduce")
def swing(ranks: int, sides: tuple[int, ...] | None = None) -> Schedule:
    """AllReduce in 2 lg p steps of n/2, n/4, ... and back; 2 more if p is no power of two (``folded``).

    The payload has a slice for every dimension, which begins in it, and its mirror image, so that all links of a rank
    are busy at once. ``sides``: of the torus, powers of two; None: two, as equal as they can be.
    """
    power = 1 << (ranks.bit_length() - 1)
    shape = sides or even_sides(power, 2)
    if prod(shape) != power or any(side & (side - 1) for side in shape):
        raise ValueError(f"swing on {ranks} ranks needs sides that are powers of two and make {power}, not {shape}.")
    slices = [_partners(shape, begin, turn) for begin in range(len(shape)) for turn in (1, -1)]

    def halve_and_double(core: Integers) -> tuple[Phase, ...]:
        parts = [_halve_and_double(core, partners) for partners in slices]
        return side_by_side(
            [[shifted(phase, power * number) for phase in phases] for number, phases in enumerate(parts)]
        )

    chunks = power * len(slices)
    return Schedule("swing", ranks, chunks, folded(ranks, chunks, halve_and_double))


def _halve_and_double(core: Integers, partners: list[Integers]) -> tuple[Phase, ...]:
    """A slice of as many chunks as there are ranks in ``core``."""
    chunk = _chunks(partners, len(core))
    halving, doubling = [], []
    for step, partner in enumerate(partners):
        length = len(core) >> (step + 1)
        first = chunk // length * length
        halving.append(once(core, core[partner], first[partner], length, reduce=True))
        doubling.append(once(core, core[partner], first, length, reduce=False))
    return (*halving, *reversed(doubling))


def _partners(sides: tuple[int, ...], begin: int, turn: int) -> list[Integers]:
    """Every place's partner in each step; dimensions take turns from ``begin`` on, as long as they have steps left."""
    place, dimensions = np.arange(prod(sides)), len(sides)
    steps = [
        (step, (dimension - begin) % dimensions, dimension)
        for dimension, side in enumerate(sides)
        for step in range(side.bit_length() - 1)
    ]
    partners = []
    for step, _, dimension in sorted(steps):
        side, unit = sides[dimension], prod(sides[:dimension])
        at = place // unit % side
        distance = turn * (1 - (-2) ** (step + 1)) // 3  # 1, -1, 3, -5, 11, ...
        to = np.where(at % 2 == 0, at + distance, at - distance) % side
        partners.append(place + (to - at) * unit)
    return partners


def _chunks(partners: list[Integers], places: int) -> Integers:
    """The chunk that every place ends with, numbered so that what it has after each step is one run.

    In each step the places split in two alike halves: those that a place reaches by the steps to come, and those that
    its partner does. Such a half is told by its smallest place; of two, the one with the smaller comes first.
    """
    smallest = [np.arange(places)]  # of what each place reaches from the step on
    for partner in reversed(partners):
        smallest.append(np.minimum(smallest[-1], smallest[-1][partner]))
    chunk = np.zeros(places, dtype=np.int64)
    for step, (partner, reached) in enumerate(zip(partners, smallest[-2::-1], strict=True)):
        chunk += np.where(reached > reached[partner], places >> (step + 1), 0)
    return chunk
