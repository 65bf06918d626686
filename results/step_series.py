"""A quantity over time that changes in steps: bytes/s of a memory, watts of a chip. Traces and pictures show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from results.units import PICOSECONDS_PER_SECOND

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
# What adding and taking away the same floats leaves behind, relative to the largest value.
RESIDUE = 1e-9


@dataclass(frozen=True, eq=False)
class StepSeries:
    """``values[i]`` (shape (n,), in ``unit``) holds from ``times_ps[i]`` to ``times_ps[i + 1]`` (shape (n + 1,))."""

    name: str
    unit: str
    times_ps: Integers
    values: Floats

    @property
    def total(self) -> float:
        """The integral over time: bytes of bytes/s, joules of watts."""
        return float(np.sum(self.values * np.diff(self.times_ps)) / PICOSECONDS_PER_SECOND)

    @property
    def mean(self) -> float:
        """Over the whole time of the series."""
        return self.total * PICOSECONDS_PER_SECOND / float(self.times_ps[-1] - self.times_ps[0])

    def share(self, above: float) -> float:
        """Of the time, how much the value is above ``above``: 0 to 1."""
        return float(np.diff(self.times_ps)[self.values > above].sum() / (self.times_ps[-1] - self.times_ps[0]))

    def between(self, start_ps: int, finish_ps: int) -> StepSeries:
        """The same within a window of its time, which must not be empty."""
        first = int(np.searchsorted(self.times_ps, start_ps, side="right")) - 1
        last = int(np.searchsorted(self.times_ps, finish_ps, side="left"))
        times = np.concatenate([[start_ps], self.times_ps[first + 1 : last], [finish_ps]])
        return StepSeries(self.name, self.unit, times, self.values[first:last])


def step_series(
    name: str, unit: str, start_ps: Integers, finish_ps: Integers, rate: Floats, end_ps: int, base: float = 0.0
) -> StepSeries:
    """The sum of stretches (shape (stretches,) each) that run at their ``rate`` from start to finish, above ``base``.

    From 0 to ``end_ps``. Stretches may overlap; those of no length add nothing.
    """
    times, places = np.unique(np.concatenate([start_ps, finish_ps, [0, end_ps]]), return_inverse=True)
    changes = np.zeros(times.size)
    np.add.at(changes, places[: start_ps.size], rate)
    np.add.at(changes, places[start_ps.size : -2], -rate)
    values = np.cumsum(changes)[:-1]
    values[np.abs(values) <= RESIDUE * np.abs(rate).max(initial=0.0)] = 0.0
    return StepSeries(name, unit, times.astype(np.int64), values + base)
