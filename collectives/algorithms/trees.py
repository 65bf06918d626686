"""Trees: sums flow up to a root and the result flows down again."""

from __future__ import annotations

import numpy as np

from collectives.algorithms.combine import pipelined, shifted, side_by_side
from collectives.algorithms.registry import algorithm
from collectives.schedule import Integers, Phase, Schedule, once


@algorithm("all_reduce")
def binomial_tree(ranks: int) -> Schedule:
    """AllReduce in 2 ceil(lg p) steps of n bytes: ranks whose bit k is their lowest hand their sum 2**k places down."""
    return Schedule("binomial_tree", ranks, 1, (*_reduce(ranks), *_broadcast(ranks)))


@algorithm("broadcast", "binomial_tree")
def binomial_broadcast(ranks: int) -> Schedule:
    """Broadcast in ceil(lg p) steps of n bytes: each time twice as many ranks have it."""
    return Schedule("binomial_tree", ranks, 1, _broadcast(ranks), operation="broadcast")


@algorithm("all_reduce")
def double_binary_tree(ranks: int, pieces: int = 16) -> Schedule:
    """AllReduce over two trees at once, each with half of the payload in ``pieces`` that follow each other up and down.

    A rank that has children in one tree is a leaf in the other, so that all carry about 2 n bytes each way
    (Sanders, Speck and Traff 2009; the trees are NCCL's, ``src/graph/trees.cc``). More pieces fill the links sooner,
    but cost a step each: 2 depth - 1 + pieces steps of 2 n / pieces bytes.
    """
    parent = _binary_tree(ranks)
    rank = np.arange(ranks)
    # The second tree is the first with ranks mirrored, or moved by one if p is odd: leaves are odd, and turn even.
    other = ranks - 1 - rank if ranks % 2 == 0 else (rank + 1) % ranks
    mirrored = np.empty_like(parent)
    mirrored[other] = np.where(parent < 0, -1, other[parent])
    trees = [
        [shifted(phase, tree * pieces) for phase in _up_and_down(parents, pieces)]
        for tree, parents in enumerate((parent, mirrored))
    ]
    return Schedule("double_binary_tree", ranks, 2 * pieces, side_by_side(trees))


def _reduce(ranks: int) -> tuple[Phase, ...]:
    return tuple(once(child, parent, np.zeros_like(child), 1, reduce=True) for child, parent in _binomial(ranks))


def _broadcast(ranks: int) -> tuple[Phase, ...]:
    down = reversed(_binomial(ranks))
    return tuple(once(parent, child, np.zeros_like(child), 1, reduce=False) for child, parent in down)


def _binomial(ranks: int) -> list[tuple[Integers, Integers]]:
    """(child, parent) of each step towards rank 0."""
    children = [np.arange(1 << bit, ranks, 2 << bit) for bit in range((ranks - 1).bit_length())]
    return [(child, child - (1 << bit)) for bit, child in enumerate(children)]


def _binary_tree(ranks: int) -> Integers:
    """Every rank's parent, -1 for the root 0: the lowest bit set moves one place up, or is cleared beyond the end."""
    rank = np.arange(ranks)
    low = rank & -rank
    up = (rank ^ low) | (low << 1)
    return np.where(rank == 0, -1, np.where(up < ranks, up, rank ^ low))


def _up_and_down(parent: Integers, pieces: int) -> tuple[Phase, ...]:
    """Pieces are reduced to the root, level by level, and copied down again behind each other."""
    depth, above = np.zeros_like(parent), parent
    while np.any(above >= 0):
        depth += above >= 0
        above = np.where(above >= 0, parent[above], -1)
    deepest = int(depth.max(initial=0))
    child = np.flatnonzero(parent >= 0)
    delay = np.concatenate([deepest - depth[child], deepest + depth[child] - 1])
    up, down = np.ones(len(child), dtype=np.bool_), np.zeros(len(child), dtype=np.bool_)
    source, destination = np.concatenate([child, parent[child]]), np.concatenate([parent[child], child])
    return pipelined(source, destination, delay, np.concatenate([up, down]), pieces)
