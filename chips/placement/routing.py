"""Routes over the mesh: who goes another way where links along the usual one are too busy.

A message takes its row, then its column, unless its flow has a route of its own in the switches, which the compiler
writes there (static flow routing, arXiv 2405.07518, section IV-C). Belongs here: which flows get one, and which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chips.placement.mesh import Cells, LinkLoads, Links, Mesh, tree

ASIDE = ((0, 1), (0, -1), (1, 0), (-1, 0))
"""Neighbours over which a message may leave instead of going straight ahead."""


@dataclass
class Messages:
    """What one stage sends in a pass: ``unicasts`` as (sources, targets, bytes each), and ``multicasts``."""

    unicasts: list[tuple[Cells, Cells, NDArray[np.float64]]] = field(default_factory=list)
    multicasts: list[tuple[Cells, Cells, float]] = field(default_factory=list)

    def send(self, sources: Cells, targets: Cells, num_bytes: float) -> None:
        """Messages of ``num_bytes`` each from ``sources`` to ``targets``, shape (n, 2) both."""
        self.unicasts.append((sources, targets, np.full(len(sources), num_bytes)))

    def multicast(self, source: Cells, targets: Cells, num_bytes: float) -> None:
        """One message from ``source``, shape (2,), to all of ``targets``."""
        self.multicasts.append((source, targets, num_bytes))

    def loads(self, mesh: Mesh) -> LinkLoads:
        """What every link carries where all go along their row, then along their column."""
        loads = LinkLoads(mesh)
        for sources, targets, sizes in self.unicasts:
            loads.send(sources, targets, sizes)
        for source, targets, num_bytes in self.multicasts:
            loads.multicast(source, targets, num_bytes)
        return loads


@dataclass
class _Flow:
    stage: int
    source: Cells
    targets: Cells
    num_bytes: float
    way: Links


def routed(mesh: Mesh, stages: Sequence[Messages], most_bytes: float) -> list[LinkLoads]:
    """The loads of each stage's messages with routes that bring the busiest link down to ``most_bytes``, or near it.

    Of the flows over the busiest link, the largest that finds a way on which every link stays below that load takes
    it; again, until the load is low enough or none finds one.
    """
    flows = list(_flows(mesh, stages))
    loads = np.zeros(LinkLoads(mesh).bytes.size)
    users: list[set[int]] = [set() for _ in loads]
    for number, flow in enumerate(flows):
        loads[flow.way] += flow.num_bytes
        for link in flow.way.tolist():
            users[link].add(number)
    while (worst := float(loads.max())) > most_bytes:
        crossing = sorted(users[int(loads.argmax())], key=lambda number: (-flows[number].num_bytes, number))
        if not any(_moved(mesh, flows, number, loads, users, worst) for number in crossing):
            break
    found = [LinkLoads(mesh) for _ in stages]
    for flow in flows:
        found[flow.stage].bytes.reshape(-1)[flow.way] += flow.num_bytes
    return found


def _flows(mesh: Mesh, stages: Sequence[Messages]) -> list[_Flow]:
    """Every message of every stage, on its row and then its column."""
    sent = [
        (stage, source, targets, float(num_bytes))
        for stage, messages in enumerate(stages)
        for source, targets, num_bytes in (
            *messages.multicasts,
            *(
                (source, target[None], size)
                for each in messages.unicasts
                for source, target, size in zip(*each, strict=True)
            ),
        )
    ]
    return [_Flow(*each, tree(mesh, each[1], each[2], 1)) for each in sent]


def _moved(
    mesh: Mesh, flows: list[_Flow], number: int, loads: NDArray[np.float64], users: list[set[int]], below: float
) -> bool:
    """Whether a flow has found a way on which every link carries less than ``below``, and taken the best of them."""
    flow = flows[number]
    loads[flow.way] -= flow.num_bytes
    best = min(_ways(mesh, flow), key=lambda way: _crowding(loads[way] + flow.num_bytes))
    better = bool(best.size == 0 or loads[best].max() + flow.num_bytes < below * (1.0 - 1e-9))
    if better:
        for link in flow.way.tolist():
            users[link].discard(number)
        for link in best.tolist():
            users[link].add(number)
        flow.way = best
    loads[flow.way] += flow.num_bytes
    return better


def _crowding(carried: NDArray[np.float64]) -> tuple[float, float]:
    """What a way costs: the load of its busiest link, and of ways alike in that the shorter over emptier links."""
    return float(carried.max(initial=0.0)), float((carried**2).sum())


def _ways(mesh: Mesh, flow: _Flow) -> list[Links]:
    """Row first or column first, straight away or over a neighbour of the source."""
    ways = [tree(mesh, flow.source, flow.targets, axis) for axis in (0, 1)]
    for aside in ASIDE:
        via = flow.source + aside
        if 0 <= via[0] < mesh.rows and 1 <= via[1] <= mesh.columns:
            step = tree(mesh, flow.source, via[None], 1)
            ways += [np.union1d(step, tree(mesh, via, flow.targets, axis)) for axis in (0, 1)]
    return ways
