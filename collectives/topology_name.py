"""Topologies by name, as a user writes them: ``switch``, ``ring``, ``torus:4x4``, ``fat_tree:8x4``."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod

from collectives.errors import CollectiveError
from collectives.topology import Topology, fat_tree, fully_connected, switched, torus

EXAMPLES = "switch, fully_connected, ring, line, torus:4x4, mesh:4x4, fat_tree:8x4"


MOST_RANKS = 2**12  # whose chunks are followed one by one
MOST_OVERSUBSCRIPTION = 1e6


def named_topology(
    text: str,
    ranks: int | None = None,
    bandwidth: float = 50e9,
    latency: float = 1e-6,
    oversubscription: float = 1.0,
    forwarding: bool = True,
) -> Topology:
    """The topology that ``text`` names, with sides of its own or of ``ranks`` (default: 8) in one row.

    ``bandwidth`` (bytes/s one way), ``latency`` (seconds) and ``oversubscription`` as the constructors in ``topology``
    take them; ``forwarding``: whether ranks of a ring or line pass messages on. Raises CollectiveError for a name that
    is not known, for more ``ranks`` than it has, and for links that cannot be.
    """
    if not bandwidth > 0:
        raise CollectiveError(f"--bandwidth is {bandwidth:g}; it must be above 0.")
    if not 1 <= oversubscription <= MOST_OVERSUBSCRIPTION:
        raise CollectiveError(
            f"--oversubscription is {oversubscription:g}; it must be at least 1, and at most {MOST_OVERSUBSCRIPTION:g}."
        )
    kind, _, shape = text.partition(":")
    if kind in ("torus", "mesh", "fat_tree"):
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", shape):
            raise CollectiveError(f"--topology {text}: expected its sides, as in {kind}:4x4.")
        sides = tuple(int(side) for side in shape.split("x"))
    else:
        sides = (8 if ranks is None else ranks,)
    if prod(sides) > MOST_RANKS:
        raise CollectiveError(f"--topology {text} has {prod(sides):,} ranks; schedules are proved for {MOST_RANKS:,}.")
    match kind:
        case "switch":
            made = switched(sides[0], bandwidth, latency)
        case "fully_connected":
            made = fully_connected(sides[0], bandwidth, latency)
        case "ring" | "torus":
            made = torus(sides, bandwidth, latency)
        case "line" | "mesh":
            made = torus(sides, bandwidth, latency, wraps=False)
        case "fat_tree":
            made = fat_tree(sides, bandwidth, latency, oversubscription=oversubscription)
        case _:
            raise CollectiveError(f"--topology {text}: expected {EXAMPLES}.")
    if ranks is not None and ranks > made.ranks:
        raise CollectiveError(f"--count {ranks}: {text} has {made.ranks} ranks.")
    return Topology(tuple(replace(level, forwarding=forwarding) for level in made.levels))
