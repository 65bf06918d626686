"""A cluster: a chip, how many of it, and by how much single ones are slower than their datasheet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chips.explained_time import IntArray, Picoseconds
from chips.spec import Dataflow, Gpu, Systolic
from chips.timeline import Time, Timeline


@dataclass(frozen=True, eq=False)
class Cluster:
    """``count`` chips of one kind that work as one group.

    ``slowdown``: None when all chips are alike; else shape (count,), each at least 1: the factor by which everything
    that runs on this chip takes longer (a lower clock, a worn memory). Collectives wait for the slowest.
    """

    chip: Gpu | Dataflow | Systolic
    count: int
    slowdown: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"A cluster of {self.count} chips computes nothing; the count is at least 1.")
        if self.slowdown is None:
            return
        if self.slowdown.shape != (self.count,):
            raise ValueError(f"slowdown has shape {self.slowdown.shape}; {self.count} chips need ({self.count},).")
        if self.slowdown.min() < 1.0:
            raise ValueError(f"a slowdown of {self.slowdown.min()} is faster than the datasheet; each is at least 1.")

    def stretch(self, duration: Picoseconds) -> Picoseconds:
        """A duration on every chip of the cluster, in picoseconds: one number, or one a chip where they differ."""
        if self.slowdown is None:
            return duration
        stretched: IntArray = np.rint(np.asarray(duration) * self.slowdown).astype(np.int64)
        return stretched

    def meet(self, clock: Timeline, time: Time) -> Time:
        """When the last chip of the cluster has arrived: what a collective starts from."""
        return time if self.slowdown is None else clock.across(time)
