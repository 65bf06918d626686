"""Topologies: which links there are between ranks, and constructors of the usual ones.

A topology is levels from the inside out (chips of a node, nodes of a rack). A message crosses the innermost level whose
group holds both ends, and what that level says lies on the way. How long messages take where they share links is in
``routing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Literal

from chips.spec import Link

Shape = Literal["switch", "fully_connected", "ring", "line", "tree"]


@dataclass(frozen=True)
class Level:
    """Groups of ``size`` units (ranks, or groups of the level below); ``bandwidth`` in bytes/s one way.

    * ``switch``: a port for every rank, ``bandwidth`` each; any pair at full rate.
    * ``fully_connected``: a link for every pair; ``bandwidth`` of all links of a rank together, shared equally.
    * ``ring``: a link to either neighbour, ``bandwidth`` each; the shorter way round, clockwise when equal.
      Rings around rings are a torus, crossed in dimension order, from the innermost ring outwards.
    * ``line``: a ring without the link that closes it (a mesh, where a torus has no wraparound).
    * ``tree``: an uplink and a downlink for every unit, ``bandwidth`` each, shared by all ranks of the unit; a message
      also crosses the switch and tree levels inside.

    ``latency``: seconds a message; of a ring or line, a hop. ``forwarding``: whether the ranks of a ring or line pass
    on messages of others; if not, only neighbours reach each other.
    """

    shape: Shape
    size: int
    bandwidth: float
    latency: float
    forwarding: bool = True


@dataclass(frozen=True)
class Topology:
    """Levels from the inside out."""

    levels: tuple[Level, ...]

    @property
    def ranks(self) -> int:
        return prod(level.size for level in self.levels)


def switched(ranks: int, bandwidth: float, latency: float) -> Topology:
    """All ranks at one non-blocking switch, a port of ``bandwidth`` bytes/s one way each."""
    return Topology((Level("switch", ranks, bandwidth, latency),))


def fully_connected(ranks: int, bandwidth: float, latency: float) -> Topology:
    """A link between any two ranks; ``bandwidth`` bytes/s one way of all links of a rank together."""
    return Topology((Level("fully_connected", ranks, bandwidth, latency),))


def torus(sides: tuple[int, ...], bandwidth: float, latency: float, *, wraps: bool = True) -> Topology:
    """A torus of any number of dimensions: one is a ring, two rows and columns. Without ``wraps`` a mesh.

    ``bandwidth``: bytes/s one way of each of a rank's two links a dimension; ``latency``: seconds a hop.
    """
    return Topology(tuple(Level("ring" if wraps else "line", side, bandwidth, latency) for side in sides))


def fat_tree(
    radices: tuple[int, ...], bandwidth: float, hop_latency: float, *, oversubscription: float = 1.0
) -> Topology:
    """Switches of switches: ``radices[0]`` ranks a leaf switch, ``radices[1]`` leaves a spine, and so on.

    ``bandwidth``: bytes/s one way of a rank's port. A switch's uplinks together carry what enters it from below, less
    by ``oversubscription`` at each level above the leaves (1: full bisection, no contention above the ports;
    traffic is taken to spread evenly over parallel uplinks). ``hop_latency``: seconds a switch, of which a message that
    turns round at level l passes 2 l + 1.
    """
    levels = [Level("switch", radices[0], bandwidth, hop_latency)]
    below, uplink = radices[0], bandwidth
    for height, radix in enumerate(radices[1:], start=1):
        uplink /= oversubscription
        levels.append(Level("tree", radix, below * uplink, (2 * height + 1) * hop_latency))
        below *= radix
    return Topology(tuple(levels))


def rank_bandwidth(link: Link, ranks: int) -> float:
    """Bytes/s one way that a chip can use towards the others of a group of ``ranks``, inside its domain.

    A switch or the host gives it all its links; dedicated links count only if they lead to a chip of the group.
    """
    local = min(ranks, link.domain)
    if local == link.domain or link.topology in ("switch", "host"):
        return link.bandwidth
    neighbours = 2 if link.topology == "ring" else link.domain - 1
    return link.bandwidth * min((local - 1) / neighbours, 1.0)


def every_nth(link: Link, stride: int) -> Link:
    """The link as a group sees it that has only every ``stride``-th chip of the domains."""
    local = max(1, link.domain // stride)
    if local == link.domain:
        return link
    bandwidth = link.bandwidth if link.topology in ("switch", "host") else rank_bandwidth(link, local)
    # A bridge joins neighbours, and so do the switches behind which cards are peers.
    peers = None if link.peers is None else max(1, link.peers // stride)
    seen = {"domain": local, "bandwidth": bandwidth or link.bandwidth, "peers": peers, "bridge_bandwidth": None}
    return link.model_copy(update=seen)


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
