"""How long the steps of a schedule take on a topology, before any clock: the durations that every executor adds up.

A step is, for clocks t in int64 picoseconds and every message i from source s to destination r,

    t_r <- max(t_r + staying_r, max over i of t_s + arriving_i)

``staying``: the software cost of the step, then until the rank's own messages have left and it has had time to reduce
all that comes; ``arriving``: software cost, latency, transfer, and reducing all that comes there. A duration is
computed in float seconds and rounded once. Belongs here: durations. The recurrence itself is in ``price``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chips.clock.time import seconds_to_ps
from collectives.routing import Floats, route
from collectives.schedule import SWITCH, Integers, Messages, Schedule
from collectives.topology import Topology

Clocks = NDArray[np.int64]
Pattern = Literal["permutation", "two_ways", "complete", "other"]
"""Every rank sends one message and receives one; sends to the next and to the one before, two permutations of which one
undoes the other; sends one to every other; or another, or the switch takes part."""


class Costs(NamedTuple):
    """What a step costs beside its links: seconds of software a step, seconds a byte that is added."""

    step_seconds: float = 0.0
    reduce_seconds_per_byte: float = 0.0


@dataclass(frozen=True, eq=False)
class StepTimes:
    """The durations of each step of a phase, picoseconds. Clocks are those of the ranks, then the switch's.

    ``staying``: shape (clocks,), 0 for those that take no part. ``source``, ``destination``: clocks, and
    ``arriving``: shape (messages,).
    """

    source: Integers
    destination: Integers
    staying: Clocks
    arriving: Clocks


@dataclass(frozen=True, eq=False)
class PhasePlan:
    """A phase on a topology, for any payload: what is left to do is to multiply by the bytes of a chunk.

    Loads are in chunks of the busiest link on the way: of each message, and of the slowest message that each clock
    sends (``out``) and receives (``into``). ``added``: chunks that each clock adds. ``alike``: whether all ranks send
    and receive alike and nobody else takes part, so that ranks that are ready together stay together. ``pattern``: who
    sends to whom.
    """

    count: int
    source: Integers
    destination: Integers
    latency: Floats
    load: Floats
    bandwidth: Floats
    out: tuple[Floats, Floats]
    into: tuple[Floats, Floats]
    added: Floats
    takes_part: NDArray[np.bool_]
    alike: bool
    pattern: Pattern

    def step_times(self, chunk_bytes: int, costs: Costs, streamed: bool) -> StepTimes:
        """``streamed``: links are busy all along, so a step costs latency alone (see ``Schedule``)."""
        size = 0 if streamed else chunk_bytes
        reducing = costs.reduce_seconds_per_byte * (chunk_bytes * self.added)
        staying = np.maximum(size * self.out[0] / self.out[1], reducing)
        staying[self.takes_part] += costs.step_seconds
        arriving = costs.step_seconds + self.latency + size * self.load / self.bandwidth + reducing[self.destination]
        return StepTimes(self.source, self.destination, seconds_to_ps(staying), seconds_to_ps(arriving))

    def alike_ps(self, chunk_bytes: int, costs: Costs, streamed: bool) -> tuple[int, int]:
        """``staying`` and ``arriving`` of ranks that are ``alike``, as ``step_times`` has them."""
        size = 0 if streamed else chunk_bytes
        reducing = costs.reduce_seconds_per_byte * (chunk_bytes * self.added.item(0))
        staying = max(size * self.out[0].item(0) / self.out[1].item(0), reducing) + costs.step_seconds
        transfer = size * self.load.item(0) / self.bandwidth.item(0)
        arriving = costs.step_seconds + self.latency.item(0) + transfer + reducing
        return seconds_to_ps(staying), seconds_to_ps(arriving)

    def port_seconds(self, chunk_bytes: int) -> tuple[Floats, Floats]:
        """For how long the links out of and into every clock are busy, all steps together."""
        out, into = (chunk_bytes * load / bandwidth for load, bandwidth in (self.out, self.into))
        return self.count * out, self.count * into


def port_ps(schedule: Schedule, phases: Sequence[PhasePlan], chunk_bytes: int) -> Clocks:
    """How long the busier port of each rank (and, last, of the switch) carries all phases; 0 if nothing is streamed."""
    if not schedule.streamed or not phases:
        return np.zeros(schedule.ranks + 1, dtype=np.int64)
    busy = [phase.port_seconds(chunk_bytes) for phase in phases]
    out, into = (np.sum(side, axis=0) for side in zip(*busy, strict=True))
    busiest: Clocks = seconds_to_ps(np.maximum(out, into))
    return busiest


@lru_cache(maxsize=64)
def plan(schedule: Schedule, topology: Topology) -> tuple[PhasePlan, ...]:
    """The phases of a schedule that have messages, routed. Raises ValueError if ranks lack, MissingLink for links."""
    if topology.ranks < schedule.ranks:
        raise ValueError(f"the schedule is for {schedule.ranks} ranks, the topology has {topology.ranks}.")
    planned = ((phase.count, phase.messages(0)) for phase in schedule.phases if phase.count)
    return tuple(
        _plan(count, messages, topology, schedule.ranks) for count, messages in planned if len(messages.source)
    )


def _plan(count: int, messages: Messages, topology: Topology, ranks: int) -> PhasePlan:
    clocks, sizes = ranks + 1, messages.sizes()
    ways = route(topology, messages.source, messages.destination, sizes)
    source, destination = messages.source % clocks, messages.destination % clocks
    added = np.bincount(destination, weights=sizes * messages.reducing(), minlength=clocks).astype(np.float64)
    added[SWITCH] = 0.0  # a switch adds on the way
    takes_part = np.zeros(clocks, dtype=np.bool_)
    takes_part[source] = takes_part[destination] = True
    out, into = (_slowest(ends, ways.load, ways.bandwidth, clocks) for ends in (source, destination))
    same = (ways.latency, ways.load, ways.bandwidth, added[:-1], *(side[:-1] for side in (*out, *into)))
    alike = not takes_part[SWITCH] and bool(takes_part[:-1].all()) and all(np.ptp(values) == 0 for values in same)
    pattern = _pattern(source, destination, ranks)
    return PhasePlan(count, source, destination, *ways, out, into, added, takes_part, alike, pattern)


def _pattern(source: Integers, destination: Integers, ranks: int) -> Pattern:
    """Who sends to whom, of the patterns that have a way of their own to be priced."""

    def permutes(source: Integers, destination: Integers) -> bool:
        return all(np.array_equal(np.sort(ends), np.arange(ranks)) for ends in (source, destination))

    if permutes(source, destination):
        return "permutation"
    if len(source) == 2 * ranks and permutes(source[:ranks], destination[:ranks]):
        there = dict(zip(source[:ranks].tolist(), destination[:ranks].tolist(), strict=True))
        back = dict(zip(destination[ranks:].tolist(), source[ranks:].tolist(), strict=True))
        return "two_ways" if there == back else "other"
    return "complete" if _all_pairs(source, destination, ranks) else "other"


def _all_pairs(source: Integers, destination: Integers, ranks: int) -> bool:
    """Whether these are all pairs of two different ranks, each once, and nobody else."""
    if len(source) != ranks * (ranks - 1) or source.max() >= ranks or destination.max() >= ranks:
        return False
    seen = np.zeros(ranks * ranks, dtype=np.bool_)
    seen[source * ranks + destination] = True
    return bool(seen.sum() == len(source) and not seen[:: ranks + 1].any())


def _slowest(ends: Integers, load: Floats, bandwidth: Floats, clocks: int) -> tuple[Floats, Floats]:
    """(load, bandwidth) of the slowest message at this end, for every clock; no load where there is none."""
    order = np.argsort(load / bandwidth, kind="stable")
    slowest_load, slowest_bandwidth = np.zeros(clocks), np.ones(clocks)
    # Of assignments to one place the last stays: the slowest.
    slowest_load[ends[order]], slowest_bandwidth[ends[order]] = load[order], bandwidth[order]
    return slowest_load, slowest_bandwidth
