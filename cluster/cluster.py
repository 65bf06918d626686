"""A cluster: a chip, how many of it, by how much single ones are slower, and how they meet on the clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from chips.clock.time import Picoseconds, plain
from chips.clock.timeline import Time, Timeline
from chips.spec import Dataflow, Gpu, Link, SomeChip, Systolic
from cluster.communicator import Communicator
from cluster.variation import Factors, Resource, Slowdown


@dataclass(frozen=True, eq=False)
class Cluster:
    """``count`` chips of one kind that work as one group.

    ``slowdown``: None when all chips are alike; else the factors of each. Collectives wait for the slowest chip.
    ``passes``: how many independent passes run side by side on one clock (``side_by_side``), of the same chips, or
    each of chips of its own where ``slowdown`` has the factors of all of them. ``communicator``: None
    where this process keeps the time of all chips; else it keeps that of one, and meets the others in messages.
    """

    chip: Gpu | Dataflow | Systolic
    count: int
    slowdown: Slowdown | None = None
    passes: int = 1
    communicator: Communicator | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"A cluster of {self.count} chips computes nothing; the count is at least 1.")
        if self.slowdown is not None and self.slowdown.chips not in (self.count, self.count * self.passes):
            raise ValueError(f"A slowdown of {self.slowdown.chips} chips does not fit a cluster of {self.count}.")
        if self.communicator is not None and self.communicator.ranks != self.count:
            raise ValueError(f"A cluster of {self.count} chips needs as many ranks, not {self.communicator.ranks}.")

    def side_by_side(self, passes: int) -> Cluster:
        """The same chips with ``passes`` independent passes on one clock, a lane (or one a chip) for each."""
        return replace(self, passes=passes)

    @property
    def lanes(self) -> int:
        """Lanes of the clock that one pass takes: one a chip where chips differ and all of them are kept here."""
        return 1 if self.slowdown is None or self.communicator is not None else self.count

    def start_clock(self, *, record: bool = False) -> Timeline:
        """A clock for this cluster. Alike chips that start together stay together, so that one stands for all.

        Lanes are ordered by pass, then by chip. A rank of several does not leap over iterations of a loop: the others,
        who see other times, might not, and wait for its messages.
        """
        return Timeline(
            self.passes * self.lanes, record=record, leaps=self.communicator is None, independent=self.lanes == 1
        )

    def stretch(self, duration: Picoseconds, resource: Resource) -> Picoseconds:
        """A duration of what keeps ``resource`` busy, in picoseconds, on every lane: one number where lanes agree."""
        if self.slowdown is None:
            return duration
        return plain(np.rint(np.asarray(duration) * self._factors[resource]).astype(np.int64))

    def meet(self, clock: Timeline, time: Time) -> Time:
        """When the last chip of the cluster has arrived: what a collective starts from."""
        if self.communicator is not None:
            return self.communicator.meet(time)
        return time if self.lanes == 1 else clock.across(time, self.count)

    @property
    def slowest_link(self) -> float:
        """By which factor the slowest links of the group take longer."""
        return 1.0 if self.slowdown is None else float(self.slowdown.link.max())

    def linked(self, chip: SomeChip) -> SomeChip:
        """``chip`` with the slowest links of the group."""
        return chip if self.slowest_link == 1.0 else chip.model_copy(update={"link": self.slowed(chip.link)})

    def slowed(self, link: Link) -> Link:
        """``link`` as the slowest of the group, which sets the pace of a collective: all wait for all."""
        slowest = self.slowest_link
        slower = {"bandwidth": link.bandwidth / slowest, "network_bandwidth": link.network_bandwidth / slowest}
        return link.model_copy(update=slower)

    @cached_property
    def _factors(self) -> dict[Resource, np.float64 | Factors]:
        """The factors by lane: a number where this cluster has one lane a pass."""
        assert self.slowdown is not None
        if self.lanes > 1:
            times = self.lanes * self.passes // self.slowdown.chips
            return {"clock": np.tile(self.slowdown.clock, times), "memory": np.tile(self.slowdown.memory, times)}
        rank = 0 if self.communicator is None else self.communicator.rank
        return {"clock": self.slowdown.clock[rank], "memory": self.slowdown.memory[rank]}
