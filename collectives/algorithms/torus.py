"""Dimension by dimension: reduce along every dimension in turn, then gather back along them in reverse.

On a torus the dimensions are its rings ("bucket" algorithm); with levels of nodes and racks it is the hierarchical one.
"""

from __future__ import annotations

from math import gcd, prod

import numpy as np

from collectives.algorithms.combine import shifted, side_by_side
from collectives.algorithms.registry import algorithm
from collectives.schedule import Integers, Messages, Phase, Schedule

NODE_RANKS = 8  # most ranks of a node where nobody says how many


@algorithm("all_reduce")
def torus_2d(ranks: int, sides: tuple[int, ...] | None = None) -> Schedule:
    """AllReduce on a 2-D torus: four slices of the payload, each begins in another dimension and direction.

    ``sides``: ranks along x and y, x innermost; None: as square as the number of ranks allows.
    """
    return _all_links("torus_2d", ranks, sides or even_sides(ranks, 2), 2)


@algorithm("all_reduce")
def torus_3d(ranks: int, sides: tuple[int, ...] | None = None) -> Schedule:
    """AllReduce on a 3-D torus: six slices of the payload, each begins in another dimension and direction."""
    return _all_links("torus_3d", ranks, sides or even_sides(ranks, 3), 3)


@algorithm("all_reduce")
def hierarchical(ranks: int, node_ranks: int | None = None) -> Schedule:
    """AllReduce by rings in nodes of ``node_ranks``, and rings between the ranks at one place in all nodes.

    2(g-1) steps of n/g bytes inside, 2(k-1) of n/(g k) between k nodes. Without ``node_ranks``, the largest number up
    to a usual node's that all nodes can have. Raises ValueError if nodes are not full.
    """
    node = node_ranks or gcd(ranks, NODE_RANKS)
    if ranks % node:
        raise ValueError(f"{ranks} ranks do not fill nodes of {node}; a multiple of {node} would.")
    return Schedule("hierarchical", ranks, ranks, by_dimension((node, ranks // node), (0, 1)))


def even_sides(ranks: int, dimensions: int) -> tuple[int, ...]:
    """The sides of a torus of so many ranks, as equal as they can be; the largest is the innermost."""
    if dimensions == 1:
        return (ranks,)
    nearest = round(ranks ** (1 / dimensions))
    side = next(side for side in range(nearest + 1, 0, -1) if ranks % side == 0 and side**dimensions <= ranks)
    return (*even_sides(ranks // side, dimensions - 1), side)


def by_dimension(sides: tuple[int, ...], order: tuple[int, ...], turn: int = 1) -> tuple[Phase, ...]:
    """ReduceScatter along the dimensions in ``order``, then AllGather in reverse, on one chunk a rank.

    A dimension of p_d ranks takes p_d - 1 steps each way, of the chunks that are left over the dimensions before it.
    Chunks are numbered so that what a rank still has after each dimension is one run.
    """
    ranks = prod(sides)
    rank = np.arange(ranks)
    units = [prod(sides[:dimension]) for dimension in range(len(sides))]
    scatter, gather, left, first = [], [], ranks, np.zeros_like(rank)
    for dimension in order:
        side, unit = sides[dimension], units[dimension]
        left //= side
        place = rank // unit % side
        after = rank + ((place + turn) % side - place) * unit
        scatter.append(_along(rank, after, first, place - turn, -turn, side, left, reduce=True))
        gather.append(_along(rank, after, first, place, -turn, side, left, reduce=False))
        first = first + place * left
    return (*scatter, *reversed(gather))


def _along(
    rank: Integers, after: Integers, first: Integers, place: Integers, turn: int, side: int, length: int, reduce: bool
) -> Phase:
    """The steps of a ring along one dimension, of runs of ``length`` chunks."""

    def messages(step: int) -> Messages:
        return Messages(rank, after, first + (place + turn * step) % side * length, length, reduce)

    return Phase(side - 1, messages)


def _all_links(name: str, ranks: int, sides: tuple[int, ...], dimensions: int) -> Schedule:
    """A slice of the payload for every dimension and direction, so that all links of a rank are busy at once."""
    if prod(sides) != ranks or len(sides) != dimensions:
        shape = " x ".join(map(str, sides))
        raise ValueError(f"{name} of {ranks} ranks needs {dimensions} sides that make {ranks}, not {shape}.")
    rotations = [tuple((begin + step) % dimensions for step in range(dimensions)) for begin in range(dimensions)]
    ways = [by_dimension(sides, order, turn) for turn in (1, -1) for order in rotations]
    slices = [[shifted(phase, ranks * number) for phase in phases] for number, phases in enumerate(ways)]
    return Schedule(name, ranks, ranks * len(ways), side_by_side(slices))
