"""Routing: the links on every message's way, and how long it takes where others share them.

All messages of a step start together. A message is as slow as the busiest link on its way: the bytes of all messages
that cross that link, over its bandwidth. Belongs here: which links those are, level by level. What levels there are is
in ``topology``.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectives.schedule import Integers
from collectives.topology import Level, Topology
from results.errors import LooplineError

Floats = NDArray[np.float64]
LOOPS = ("ring", "line")


class MissingLink(LooplineError, ValueError):
    """A message has no way from its source to its destination; the sentence names both."""


class Ways(NamedTuple):
    """What lies on the ways of messages that start together; arrays over messages.

    ``latency``: seconds. ``load``: all that crosses the busiest link on the way, in the unit in which sizes were given;
    ``bandwidth``: of that link, bytes/s. So a message takes ``latency + bytes a unit * load / bandwidth`` seconds.
    """

    latency: Floats
    load: Floats
    bandwidth: Floats


class _Messages(NamedTuple):
    source: Integers
    destination: Integers
    sizes: Integers

    def only(self, chosen: Integers) -> _Messages:
        return _Messages(self.source[chosen], self.destination[chosen], self.sizes[chosen])


def route(topology: Topology, source: Integers, destination: Integers, sizes: Integers) -> Ways:
    """The ways of messages that start together. Raises MissingLink if one has none."""
    _refuse_strangers(topology, source, destination)
    messages = _Messages(source, destination, sizes)
    top = _levels_crossed(topology, source, destination)
    ways = Ways(np.zeros(source.shape), np.zeros(source.shape), np.full(source.shape, np.inf))
    for height, level in enumerate(topology.levels):
        reached = [outer for outer in range(height, len(topology.levels)) if _passes(topology, outer, height)]
        crossing = np.flatnonzero(np.isin(top, reached))
        if not len(crossing):
            continue
        here = messages.only(crossing)
        if level.shape in LOOPS:
            loads, hops = _around_loop(topology, height, here)
            ways.latency[crossing] += hops * level.latency
        else:
            loads = list(_across(topology, height, here))
            ways.latency[crossing] = np.where(top[crossing] == height, level.latency, 0.0)
        bandwidth = level.bandwidth / (level.size - 1) if level.shape == "fully_connected" else level.bandwidth
        for load in loads:
            slower = load / bandwidth > ways.load[crossing] / ways.bandwidth[crossing]
            ways.load[crossing[slower]], ways.bandwidth[crossing[slower]] = load[slower], bandwidth
    return ways


def _levels_crossed(topology: Topology, source: Integers, destination: Integers) -> Integers:
    """The innermost level whose group holds both ends; the switch is in the innermost."""
    top = np.zeros(source.shape, dtype=np.int64)
    for height in range(1, len(topology.levels)):
        group = _unit_ranks(topology, height)
        top[(source >= 0) & (destination >= 0) & (source // group != destination // group)] = height
    return top


def _passes(topology: Topology, outer: int, inner: int) -> bool:
    """Whether messages that cross level ``outer`` also use the links of level ``inner``: in trees and in tori."""
    between = [level.shape for level in topology.levels[inner : outer + 1]]
    in_tree = all(shape == "tree" for shape in between[1:]) and between[0] in ("tree", "switch")
    return outer == inner or in_tree or all(shape in LOOPS for shape in between)


def _across(topology: Topology, height: int, messages: _Messages) -> Iterator[Floats]:
    """What crosses the links of one level on each message's way, one array for each link of a message there."""
    level, unit = topology.levels[height], _unit_ranks(topology, height)
    source, destination, sizes = messages
    if level.shape == "switch":
        # A port out and a port in for every rank; the switch as an end of a message has no port of its own.
        for end in (source, destination):
            at_rank = end >= 0
            load = np.bincount(end[at_rank], weights=sizes[at_rank], minlength=1)
            yield np.where(at_rank, load[np.maximum(end, 0)], 0.0)
        return
    if np.any(source < 0) or np.any(destination < 0):
        raise MissingLink(f"a {level.shape} level has no switch that could reduce; in-switch schedules need one.")
    if level.shape == "fully_connected":
        yield _shared(source * level.size + destination // unit % level.size, sizes)
    else:
        yield _shared(source // unit, sizes)
        yield _shared(destination // unit, sizes)


def _shared(link: Integers, sizes: Integers) -> Floats:
    """What crosses each message's link, if message i crosses link ``link[i]``, any numbers from 0."""
    _, index = np.unique(link, return_inverse=True)
    return np.bincount(index, weights=sizes)[index].astype(np.float64)


def _around_loop(topology: Topology, height: int, messages: _Messages) -> tuple[list[Floats], Integers]:
    """Along one dimension of a torus, when the dimensions inside are done: (busiest link each way, hops)."""
    level, unit = topology.levels[height], _unit_ranks(topology, height)
    source, destination, sizes = messages
    if np.any(source < 0) or np.any(destination < 0):
        raise MissingLink(f"a {level.shape} level has no switch that could reduce; in-switch schedules need one.")
    innermost = min(inner for inner in range(height + 1) if _passes(topology, height, inner))
    done = _unit_ranks(topology, innermost)
    inside = destination % unit - destination % done + source % done
    place, goal = source // unit % level.size, destination // unit % level.size
    forward = (goal - place) % level.size
    clockwise = goal >= place if level.shape == "line" else forward <= level.size - forward
    hops = np.where(clockwise, forward, (place - goal) % level.size)
    _refuse_forwarding(level, source, destination, destination - source != (goal - place) * unit, hops)
    _, ring = np.unique(source // (unit * level.size) * unit + inside, return_inverse=True)
    loads = [
        _busiest_in_row(level.size, ring, np.where(way, first, 0), np.where(way, hops, 0), sizes)
        for way, first in ((clockwise, place), (~clockwise, goal))
    ]
    return loads, hops


def _busiest_in_row(size: int, ring: Integers, first: Integers, hops: Integers, sizes: Integers) -> Floats:
    """What crosses the busiest of ``hops`` links in a row, link ``first`` of its ring the first, all the same way.

    Loads are differences summed along the ring; the largest of a range is read from maxima over spans of 2**k links.
    """
    steps = np.zeros((int(ring.max()) + 1, 2 * size + 1))
    np.add.at(steps, (ring, first), sizes)
    np.subtract.at(steps, (ring, first + hops), sizes)
    unrolled = np.cumsum(steps, axis=1)
    load = unrolled[:, :size] + unrolled[:, size : 2 * size]
    spans = np.concatenate([load, load], axis=1)
    busiest, reach = np.zeros(ring.shape), 1
    while np.any(hops >= reach):
        # A range of reach to 2 reach - 1 links is two spans of ``reach`` that may overlap.
        now = np.flatnonzero((hops >= reach) & (hops < 2 * reach))
        start, end = first[now], first[now] + hops[now] - reach
        busiest[now] = np.maximum(spans[ring[now], start], spans[ring[now], end])
        spans = np.maximum(spans[:, : spans.shape[1] - reach], spans[:, reach:])
        reach *= 2
    return busiest


def _unit_ranks(topology: Topology, height: int) -> int:
    """Ranks of one unit of level ``height``."""
    return prod(level.size for level in topology.levels[:height])


def _refuse_strangers(topology: Topology, source: Integers, destination: Integers) -> None:
    """Ranks that the topology does not have, and ranks whose switch is not the one that reduces."""
    last = max(int(source.max(initial=-1)), int(destination.max(initial=-1)))
    if last >= topology.ranks:
        raise MissingLink(f"rank {last} has no link at all: the topology has {topology.ranks} ranks.")
    joined = topology.levels[0].size
    stranger = np.maximum(source, destination)[((source < 0) | (destination < 0))].max(initial=-1)
    if topology.levels[0].shape == "switch" and stranger >= joined:
        raise MissingLink(
            f"rank {stranger} has no link to the switch that reduces, which joins ranks 0 to {joined - 1}."
        )


def _refuse_forwarding(
    level: Level, source: Integers, destination: Integers, turns: NDArray[np.bool_], hops: Integers
) -> None:
    """Where ranks do not forward, a message takes a single hop in all."""
    far = (hops > 1) | ((hops > 0) & turns)
    if not level.forwarding and np.any(far):
        i = int(np.argmax(far))
        raise MissingLink(
            f"there is no link from rank {source[i]} to rank {destination[i]}: on a {level.shape} whose ranks do not "
            "forward, only neighbours have one."
        )
