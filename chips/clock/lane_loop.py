"""Loops whose iterations differ in number from lane to lane, and loops of lanes that never meet.

A lane is a chip of a clock, or a point that is priced beside others. A lane whose iterations are done keeps its state
while the others go on. Lanes that never meet are clocks of their own that share their instructions: all that
``chips.clock.periodic_loop`` proves holds for each by itself, so that each leaps as far as it is certain, over another
number of periods than its neighbours.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from chips.clock.periodic_loop import LONGEST_PERIOD, Body, Clock, Probe, Run, State
from chips.clock.time import LAST_PS, ClockError, IntArray, Picoseconds, Rate, Time, chosen

Lanes = NDArray[np.bool_]
ENOUGH = 0.5  # of the lanes that could leap: to wait for the rest costs more than to leap again


def run_uneven(clock: Clock, counts: IntArray, body: Body, carried: tuple[Time, ...], run: Run) -> tuple[Time, ...]:
    """Run ``body`` ``counts`` times, (chips,). ``run`` runs it as often on all chips, as ``Timeline.loop`` does."""
    done = 0
    for count in sorted(set(counts.tolist())):
        carried = run(count - done, _only_others(clock, counts <= done, body), carried)
        done = count
    return carried


def run_lanes(clock: Clock, counts: IntArray, body: Body, carried: tuple[Time, ...]) -> tuple[Time, ...]:
    """The same on lanes that never meet, each leaping by itself where that gives exactly the same."""
    loop = _Loop(clock, body, counts.copy())
    history = _History()
    while loop.left.any():
        carried = loop.iterate(carried)
        if loop.left.max() < 4:  # a probed period, a confirmed one, one to skip and one to run last
            continue
        state = clock.state(carried)
        period, shift, lanes = history.add(state, loop.left)
        if period:
            carried = loop.leap(state, period, shift, lanes)
            history = _History()
    return carried


def _only_others(clock: Clock, finished: Lanes, body: Body) -> Body:
    """``body`` without effect on the lanes that have finished."""
    if not finished.any():
        return body

    def one_iteration(carried: tuple[Time, ...]) -> tuple[Time, ...]:
        before = clock.state(carried)
        after = clock.state(body(carried))
        engines, (made, *others) = before.shape[0], after.shape
        if before.shape[1:] != tuple(others):
            raise RuntimeError("Of a loop that ends earlier on some chips, buffers are made before it, not in it.")
        # An engine that the body mentions first is free since the last barrier on those that do not run it.
        unused = [before.times[engines]] * (made - engines)
        kept = before.times[:engines] + unused + before.times[engines:]
        times = [chosen(new, old, finished) for old, new in zip(kept, after.times, strict=True)]
        return clock.move_to(State(after.shape, times))

    return one_iteration


class _LaneProbe(Probe):
    """A probe with a horizon for each lane."""

    def __init__(self, lanes: int) -> None:
        super().__init__()
        self.horizons = np.full(lanes, sys.maxsize)

    def limit(self, gain: Picoseconds, slack: Picoseconds) -> None:
        gaining = np.greater(gain, 0)
        if np.count_nonzero(gaining):
            lasting = np.where(gaining, (slack - 1) // np.maximum(gain, 1), sys.maxsize)
            np.minimum(self.horizons, lasting, out=self.horizons)


class _Loop:
    """A loop while it runs: ``left`` counts the iterations that each lane still has before it."""

    def __init__(self, clock: Clock, body: Body, left: IntArray) -> None:
        self.clock = clock
        self.left = left
        self._body = body

    def iterate(self, carried: tuple[Time, ...]) -> tuple[Time, ...]:
        """One iteration of every lane that has not finished."""
        finished = self.left == 0
        carried = _only_others(self.clock, finished, self._body)(carried)
        self.left -= ~finished
        return carried

    def leap(self, state: State, period: int, shift: list[Picoseconds], lanes: Lanes) -> tuple[Time, ...]:
        """Probe, confirm and leap, as far as each succeeds on each of ``lanes``; returns the carried times."""
        clock, probe = self.clock, _LaneProbe(self.left.size)
        carried = clock.move_to(probe.mark(state, shift))
        with clock.probing(probe):
            for _ in range(period):
                carried = self.iterate(carried)
        first = probe.clear(clock.state(carried))
        carried = clock.move_to(first)
        sure = lanes & (probe.horizons >= 3) & _moved_by(state, first, shift)
        if not sure.any():
            return carried
        probe.confirming = True
        with clock.probing(probe):
            for _ in range(period):
                carried = self.iterate(carried)
        second = clock.state(carried)
        sure &= _moved_alike(state, first, second)
        periods = np.where(sure, np.maximum(np.minimum(probe.horizons - 2, self.left // period - 1), 0), 0)
        if not periods.any():
            return carried
        times = [_advanced(before, now, periods) for before, now in zip(first.times, second.times, strict=True)]
        self.left -= periods * period
        return clock.move_to(State(second.shape, times))


class _History:
    """The states that a loop has been in, to find after how many iterations lanes move by the same shift again."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.states: list[list[Picoseconds]] = []
        self.sums: list[Picoseconds] = []

    def add(self, state: State, left: IntArray) -> tuple[int, list[Picoseconds], Lanes]:
        """Note a state; returns the shortest period that moved enough lanes twice by the same shift, or 0; with that
        shift and those lanes.
        """
        if state.shape != self.shape:
            self.shape, self.states, self.sums = state.shape, [], []
        now = [time.ps for time in state.times]
        self.states.append(now)
        self.sums.append(sum(now))
        del self.states[: -2 * LONGEST_PERIOD - 1], self.sums[: -2 * LONGEST_PERIOD - 1]
        for period in range(1, (len(self.states) + 1) // 2):
            could = left >= 4 * period
            least = max(1.0, ENOUGH * np.count_nonzero(could))
            # Sums first: one comparison rules out nearly every period that is none.
            lanes = could & (
                self.sums[-1] - self.sums[-1 - period] == self.sums[-1 - period] - self.sums[-1 - 2 * period]
            )
            if np.count_nonzero(lanes) < least:
                continue
            before, earlier = self.states[-1 - period], self.states[-1 - 2 * period]
            for a, b, c in zip(earlier, before, now, strict=True):
                lanes &= c - b == b - a
            if np.count_nonzero(lanes) >= least:
                return period, [np.where(lanes, c - b, 0) for b, c in zip(before, now, strict=True)], lanes
        return 0, [], np.zeros(left.size, np.bool_)


def _moved_by(before: State, now: State, shift: list[Picoseconds]) -> Lanes | np.bool_:
    same: Lanes | np.bool_ = np.bool_(before.shape == now.shape)
    if same:
        for a, b, moved in zip(before.times, now.times, shift, strict=True):
            same = same & (b.ps - a.ps == moved)
    return same


def _moved_alike(first: State, second: State, third: State) -> Lanes | np.bool_:
    """Did all parts, and so the times, grow twice by the same? Marks of enclosing loops must not have moved at all."""
    same: Lanes | np.bool_ = np.bool_(second.shape == third.shape)
    if same:
        for a, b, c in zip(first.times, second.times, third.times, strict=True):
            for label in () if a is b is c else a.path | b.path | c.path:
                grown = c.path.get(label, 0) - b.path.get(label, 0)
                expected = 0 if type(label) is Rate else b.path.get(label, 0) - a.path.get(label, 0)
                alike = np.equal(grown, expected)
                same = same & (alike.all(axis=0) if alike.ndim > 1 else alike)
    return same


def _advanced(before: Time, now: Time, periods: IntArray) -> Time:
    """``now``, moved on by what separates it from ``before``, as many times as each lane's ``periods``."""
    if before is now:
        return now
    last = int(np.max(now.ps)) + int(periods.max()) * int(np.max(now.ps - before.ps))
    if last > LAST_PS:
        raise ClockError(f"a loop ends after {last} ps; the clocks of many chips end at {LAST_PS} ps.")
    path: dict[Hashable, Picoseconds] = {
        label: ps + periods * (ps - before.path.get(label, 0)) for label, ps in now.path.items()
    }
    return Time(now.ps + periods * (now.ps - before.ps), path)
