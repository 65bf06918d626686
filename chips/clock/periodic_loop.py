"""Loops that are not unrolled: leap over the iterations of which it is certain what they would do.

One iteration maps the state of a clock (when every engine, buffer slot and carried time is ready) to the next by maxima
and added constants: a max-plus map (Baccelli et al., "Synchronization and Linearity", 1992). Say that c iterations are
a period, and that the state before period p is x(p). While every maximum keeps its winner, each coordinate i of the
next state is one coordinate r(i) of this one plus a constant, x_i(p + 1) = x_r(i)(p) + a_i, and so are the parts of
its explanation. A leap is taken where that is known to last:

1. *Probe.* Two periods have moved the state by the same shift v. Period 0 runs with every coordinate marked by its
   rate v_i. Marks follow the critical paths, so each maximum sees at what rate its arguments move. An argument behind
   its winner by a slack s that gains g = (its rate - the winner's) > 0 a period stays behind for (s - 1) // g more
   periods; the least of these is the horizon h. Arguments that do not gain never overtake; a constant from outside the
   loop, or an engine that the loop never uses, has rate 0 and is treated like any other.
2. *Confirm.* Periods 0 and 1 must both move the state by v again, and all parts by the same w. If h >= 1, period 1 has
   the winners of period 0, so x_i(2) - x_i(1) = v_r(i); as it is v_i, v_r(i) = v_i, and likewise w_r(i) = w_i.
3. *Leap.* By induction x(p) = x(0) + p v up to p = h + 1: if it holds at p <= h, every argument of period p has moved
   by p times its rate, winners have kept their lead, and x_i(p + 1) = x_r(i)(0) + p v_r(i) + a_i = x_i(1) + p v_i. The
   same holds for parts with w. So periods 2 up to h may be skipped, in exact integers, whatever v is: engines with
   different rates leap as far as neither overtakes the other; then the loop runs on and looks again.

The last period before the horizon is always run, not skipped. With it, a probe of an enclosing loop has seen both ends
of the leap; slacks in between lie between these (they are linear in p), so its horizon holds there too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np

from chips.clock.time import LAST_PS, ClockError, Picoseconds, Rate, Time

LONGEST_PERIOD = 16
HISTORY_NUMBERS = 2**22
"""How many past times may be kept to look for a period: 32 MiB. Clocks of very many chips find short periods only."""

Body = Callable[[tuple[Time, ...]], tuple[Time, ...]]
Run = Callable[[int, Body, tuple[Time, ...]], tuple[Time, ...]]


class State(NamedTuple):
    """All that one iteration leaves to the next; ``shape`` counts engines, slots of each buffer and carried times."""

    shape: tuple[int, ...]
    times: list[Time]


class Probe:
    """Watches the maxima of two periods.

    In the first: for how many more periods (``horizon``) does each certainly keep its winner? In the second
    (``confirming``) the state bears no marks any more, so a time that does was kept by the body behind the loop's back.
    """

    def __init__(self) -> None:
        self.rate = Rate()
        self.confirming = False
        self.horizon = sys.maxsize

    def mark(self, state: State, shift: list[Picoseconds]) -> State:
        """The state with every time that moves marked by its rate."""
        marked = [
            time if isinstance(rate, int) and rate == 0 else Time(time.ps, time.path | {self.rate: rate})
            for time, rate in zip(state.times, shift, strict=True)
        ]
        return State(state.shape, marked)

    def clear(self, state: State) -> State:
        """The state without this probe's marks."""
        return State(state.shape, [_without(time, self.rate) for time in state.times])

    def watch(self, winner: Time, times: Sequence[Time]) -> None:
        """Note by how much ``winner`` leads each of ``times``, and how fast they gain on it."""
        if self.confirming:
            if any(self.rate in time.path for time in times):
                raise RuntimeError(
                    "The body of a loop used a time of an earlier iteration that it had kept itself; return that time "
                    "from the body, so that the loop carries it."
                )
            return
        lead_rate = winner.path.get(self.rate, 0)
        for time in times:
            self.limit(time.path.get(self.rate, 0) - lead_rate, winner.ps - time.ps)

    def limit(self, gain: Picoseconds, slack: Picoseconds) -> None:
        """Note a time that is ``slack`` behind its winner and gains ``gain`` on it each period."""
        if isinstance(gain, int) and isinstance(slack, int):
            if gain > 0:
                self.horizon = min(self.horizon, (slack - 1) // gain)
        elif np.count_nonzero(gain > 0):
            gain, slack = np.broadcast_arrays(gain, slack)
            gaining = gain > 0
            self.horizon = min(self.horizon, int(((slack[gaining] - 1) // gain[gaining]).min()))


class Clock(Protocol):
    """What a loop needs of the clock that it advances."""

    chips: int

    def state(self, carried: tuple[Time, ...]) -> State: ...
    def move_to(self, state: State) -> tuple[Time, ...]: ...
    def probing(self, probe: Probe) -> AbstractContextManager[None]: ...


def run(clock: Clock, count: int, body: Body, carried: tuple[Time, ...]) -> tuple[Time, ...]:
    """Run ``body`` ``count`` times on ``clock``, leaping where that gives exactly the same."""
    history = _History(clock.chips)
    left = count
    while left:
        carried = body(carried)
        left -= 1
        if left < 4:  # a probed period, a confirmed one, one to skip and one to run last
            continue
        state = clock.state(carried)
        period, shift = history.add(state)
        if period and left >= 4 * period:
            carried, done = _leap(clock, body, state, period, shift, left)
            left -= done
            history = _History(clock.chips)
    return carried


def _leap(
    clock: Clock, body: Body, state: State, period: int, shift: list[Picoseconds], left: int
) -> tuple[tuple[Time, ...], int]:
    """Probe, confirm and leap, as far as each succeeds; returns the carried times and how many iterations are done."""
    probe = Probe()
    carried = clock.move_to(probe.mark(state, shift))
    with clock.probing(probe):
        for _ in range(period):
            carried = body(carried)
    first = probe.clear(clock.state(carried))
    carried = clock.move_to(first)
    if probe.horizon < 3 or not _moved_by(state, first, shift):
        return carried, period
    probe.confirming = True
    with clock.probing(probe):
        for _ in range(period):
            carried = body(carried)
    second = clock.state(carried)
    if first.shape != second.shape or not _moved_alike(state, first, second):
        return carried, 2 * period
    periods = min(probe.horizon - 2, left // period - 3)
    if periods < 1:
        return carried, 2 * period
    times = [_advanced(before, now, periods) for before, now in zip(first.times, second.times, strict=True)]
    return clock.move_to(State(second.shape, times)), (2 + periods) * period


class _History:
    """The states that a loop has been in, to find after how many iterations it moves by the same shift again."""

    def __init__(self, chips: int) -> None:
        self.chips = chips
        self.shape: tuple[int, ...] = ()
        self.states: list[list[Picoseconds]] = []
        self.sums: list[int] = []

    def add(self, state: State) -> tuple[int, list[Picoseconds]]:
        """Note a state; returns the shortest period that moved it twice by the same shift, or 0, and the shift."""
        if state.shape != self.shape:
            self.shape, self.states, self.sums = state.shape, [], []
        now = [time.ps for time in state.times]
        self.states.append(now)
        self.sums.append(sum(ps if isinstance(ps, int) else int(ps.sum()) for ps in now))
        longest = min(LONGEST_PERIOD, max(1, HISTORY_NUMBERS // (2 * self.chips * max(1, len(now)))))
        del self.states[: -2 * longest - 1], self.sums[: -2 * longest - 1]
        for period in range(1, (len(self.states) + 1) // 2):
            # Sums first: one comparison rules out nearly every period that is none.
            if self.sums[-1] - self.sums[-1 - period] != self.sums[-1 - period] - self.sums[-1 - 2 * period]:
                continue
            before, earlier = self.states[-1 - period], self.states[-1 - 2 * period]
            if all(_equal(c - b, b - a) for a, b, c in zip(earlier, before, now, strict=True)):
                return period, [c - b for b, c in zip(before, now, strict=True)]
        return 0, []


def _moved_by(before: State, now: State, shift: list[Picoseconds]) -> bool:
    return before.shape == now.shape and all(
        _equal(b.ps - a.ps, moved) for a, b, moved in zip(before.times, now.times, shift, strict=True)
    )


def _moved_alike(first: State, second: State, third: State) -> bool:
    """Did all parts, and so the times, grow twice by the same? Marks of enclosing loops must not have moved at all."""
    for a, b, c in zip(first.times, second.times, third.times, strict=True):
        if a is b is c:
            continue
        for label in a.path | b.path | c.path:
            grown = c.path.get(label, 0) - b.path.get(label, 0)
            expected = 0 if type(label) is Rate else b.path.get(label, 0) - a.path.get(label, 0)
            if not _equal(grown, expected):
                return False
    return True


def _advanced(before: Time, now: Time, periods: int) -> Time:
    """``now``, moved on ``periods`` times by what separates it from ``before``."""
    if before is now:
        return now
    path = {
        label: _moved_on(before.path.get(label, 0), now.path.get(label, 0), periods) for label in before.path | now.path
    }
    # The parts of a time sum to it: where it fits its integers, so do they.
    if isinstance(now.ps, np.ndarray):
        last = int(now.ps.max()) + periods * int(np.abs(now.ps - before.ps).max())
        if last > LAST_PS:
            raise ClockError(f"a loop ends after {last} ps; many chips' clocks end at {LAST_PS} ps.")
    return Time(_moved_on(before.ps, now.ps, periods), path)


def _moved_on(before: Picoseconds, now: Picoseconds, periods: int) -> Picoseconds:
    return now + periods * (now - before)


def _equal(one: Picoseconds, other: Picoseconds) -> bool:
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return not np.count_nonzero(one != other)


def _without(time: Time, mark: Rate) -> Time:
    if mark not in time.path:
        return time
    return Time(time.ps, {label: spent for label, spent in time.path.items() if label is not mark})
