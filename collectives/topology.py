"""Links between ranks: how long a message takes where others share its way.

A topology is levels from the inside out (chips of a node, nodes of a rack): a message crosses the innermost level
whose group holds both ends. A rank owns its links at every level. Torus-like shapes are levels of rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from chips.spec import Link
from collectives.schedule import SWITCH

Ranks = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """Groups of ``size`` units (ranks, or groups of the level below).

    ``bandwidth``: bytes/s one way. ``switch``: of a rank's port. ``fully_connected``: of all links of a rank together,
    an equal share for each peer. ``ring``: of each link to a neighbour. ``latency``: seconds a message; a ring, a hop.
    """

    shape: Literal["switch", "fully_connected", "ring"]
    size: int
    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Topology:
    """Levels from the inside out."""

    levels: tuple[Level, ...]

    @property
    def ranks(self) -> int:
        return prod(level.size for level in self.levels)

    def message_seconds(self, source: Ranks, destination: Ranks, sizes: Seconds) -> tuple[Seconds, Seconds]:
        """(latency, transfer) of messages that all start together; a link shared by several carries their sum.

        ``sizes``: bytes of each message. A message is as slow as the busiest link on its way.
        """
        latency, transfer = np.zeros(source.shape), np.zeros(source.shape)
        below = 1
        crossing = np.ones(source.shape, dtype=np.bool_)
        for level in self.levels:
            group = below * level.size
            here = crossing & ((source // group == destination // group) | (source < 0) | (destination < 0))
            if np.any(here):
                link_seconds = _LINK_SECONDS[level.shape]
                latency[here], transfer[here] = link_seconds(level, below, source[here], destination[here], sizes[here])
            crossing &= ~here
            below = group
        return latency, transfer


def rank_bandwidth(link: Link, ranks: int) -> float:
    """Bytes/s one way that a chip can use towards the others of a group of ``ranks``, inside its domain.

    A switch or the host gives it all its links; dedicated links count only if they lead to a chip of the group.
    """
    local = min(ranks, link.domain)
    if local == link.domain or link.topology in ("switch", "host"):
        return link.bandwidth
    neighbours = 2 if link.topology == "ring" else link.domain - 1
    return link.bandwidth * min((local - 1) / neighbours, 1.0)


@cache
def topology_of(link: Link, ranks: int, latency: float) -> Topology:
    """``ranks`` chips with this link (``latency`` seconds a hop), in nodes of its domain on a switched network.

    PCIe through the host is a switch whose ports have the bandwidth of a chip's slot.
    """
    shape = "switch" if link.topology == "host" else link.topology
    local = min(ranks, link.domain)
    usable = rank_bandwidth(link, ranks)
    inside = Level(shape, local, usable / 2 if shape == "ring" and local > 2 else usable, latency)
    if ranks <= local:
        return Topology((inside,))
    outside = Level("switch", -(-ranks // local), link.network_bandwidth, link.network_latency)
    return Topology((inside, outside))


def _through_switch(
    level: Level, below: int, source: Ranks, destination: Ranks, sizes: Seconds
) -> tuple[Seconds, Seconds]:
    """A port out and a port in for every rank; the switch as an end of a message has no port of its own."""
    out = np.bincount(source[source >= 0], weights=sizes[source >= 0], minlength=1)
    into = np.bincount(destination[destination >= 0], weights=sizes[destination >= 0], minlength=1)
    busiest = np.maximum(
        np.where(source < 0, 0.0, out[np.maximum(source, 0)]),
        np.where(destination < 0, 0.0, into[np.maximum(destination, 0)]),
    )
    return np.full(source.shape, level.latency), busiest / level.bandwidth


def _over_own_link(
    level: Level, below: int, source: Ranks, destination: Ranks, sizes: Seconds
) -> tuple[Seconds, Seconds]:
    """A link of its own for every pair, in each direction."""
    _refuse_switch(level, source, destination)
    pair = source * level.size + destination // below % level.size
    _, index = np.unique(pair, return_inverse=True)
    load = np.bincount(index, weights=sizes)[index]
    return np.full(source.shape, level.latency), load / (level.bandwidth / (level.size - 1))


def _around_ring(
    level: Level, below: int, source: Ranks, destination: Ranks, sizes: Seconds
) -> tuple[Seconds, Seconds]:
    """The shorter way round (clockwise when equal), over every link between."""
    _refuse_switch(level, source, destination)
    forward = (destination // below - source // below) % level.size
    clockwise = forward <= level.size - forward
    hops = np.where(clockwise, forward, level.size - forward)
    direction = np.where(clockwise, 1, -1)
    base = source // (below * level.size) * (below * level.size) + source % below
    place = source // below % level.size
    span = int(source.max()) + below * level.size + 1
    load = np.zeros(2 * span)
    ways = [
        (hops > hop, np.where(clockwise, 0, span) + base + (place + direction * hop) % level.size * below)
        for hop in range(int(hops.max()))
    ]
    for on_way, link in ways:
        np.add.at(load, link[on_way], sizes[on_way])
    busiest = np.zeros(source.shape)
    for on_way, link in ways:
        busiest[on_way] = np.maximum(busiest[on_way], load[link[on_way]])
    return hops * level.latency, busiest / level.bandwidth


def _refuse_switch(level: Level, source: Ranks, destination: Ranks) -> None:
    if np.any(source < 0) or np.any(destination < 0):
        raise ValueError(f"a {level.shape} level has no switch that could reduce; in-switch schedules need one.")


_LINK_SECONDS = {"switch": _through_switch, "fully_connected": _over_own_link, "ring": _around_ring}
