"""The clock: engines, tasks, barriers, buffers and loops. The only place where time advances.

    finish = max(engine free, inputs ready) + duration

Everything that takes time is a task on an in-order engine. That recurrence is linear in the max-plus algebra;
pipelining, double buffering, launches and stragglers all follow from it. What a duration should be does not belong
here; how a time explains itself is in ``chips.clock.time``, how a long loop is advanced without running it in
``chips.clock.periodic_loop`` and, where chips never meet, in ``chips.clock.lane_loop``.

    clock = Timeline()
    hbm, matrix, tiles = clock.engine("HBM"), clock.engine("matrix"), clock.buffer(2)

    def tile(_):
        loaded = clock.task(hbm, 700, after=(tiles.acquire(),), label="load")
        multiplied = clock.task(matrix, 900, after=(loaded,), label="matmul")
        tiles.release(multiplied)
        return ()

    clock.loop(1_000_000, tile)
    clock.now.ps, clock.now.parts    # 900_000_700, {"load": 700, "matmul": 900_000_000}

Times are integer picoseconds. With ``chips`` above 1 the same program runs on all chips side by side: durations may be,
and times are, int64 arrays of shape (chips,), and ``across`` is where chips meet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import ref

import numpy as np

from chips.clock.lane_loop import run_lanes, run_uneven
from chips.clock.periodic_loop import Body, Probe, State, run
from chips.clock.time import (
    Duration,
    IntArray,
    Picoseconds,
    Time,
    latest,
    latest_across,
    seconds_to_ps,
    spend,
    steps,
)

__all__ = ["Buffer", "Duration", "Engine", "Event", "Picoseconds", "Time", "Timeline", "seconds_to_ps"]


@dataclass(slots=True, eq=False)
class Engine:
    """One in-order resource (a memory port, a matrix unit, a link, a host thread); ``free`` when its last task ends."""

    name: str
    free: Time


@dataclass(frozen=True, slots=True)
class Event:
    """One task as it ran, for a trace. ``start_ps`` and ``finish_ps`` are ints, or int64 arrays over chips.

    ``of``: what the task stands for, as its issuer said. ``iterations``: which iteration of each named loop it ran in,
    the outermost loop first.
    """

    engine: str
    name: str
    label: Hashable
    start_ps: Picoseconds
    finish_ps: Picoseconds
    of: object = None
    iterations: tuple[int, ...] = ()


class Buffer:
    """Room for ``depth`` items between two stages: 1 makes neighbours take turns, 2 is double buffering.

    The producer acquires a slot before it writes, the consumer releases it when it has read; slots come back in the
    order of release.
    """

    __slots__ = ("__weakref__", "depth", "slots")

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"A buffer of depth {depth} holds nothing; the depth is at least 1.")
        self.depth = depth
        self.slots = deque([Time.zero] * depth)

    def acquire(self) -> Time:
        """When the next slot is free. Raises RuntimeError if all slots are taken and none has been released."""
        if not self.slots:
            raise RuntimeError(f"All {self.depth} slots of a buffer are taken: release one before acquiring the next.")
        return self.slots.popleft()

    def release(self, time: Time) -> None:
        """Give one slot back at ``time``. Raises RuntimeError if none was taken."""
        if len(self.slots) == self.depth:
            raise RuntimeError(f"A buffer of depth {self.depth} has no slot to release: all of them are free.")
        self.slots.append(time)


class Timeline:
    """A clock for ``chips`` chips that run one program; with ``record``, ``events`` lists every task as it ran.

    Without ``leaps`` every iteration of a loop runs: for a body that must do more than advance this clock.
    ``independent`` chips never meet (``across``), so that each leaps by itself.
    """

    def __init__(self, chips: int = 1, record: bool = False, leaps: bool = True, independent: bool = False) -> None:
        if chips < 1:
            raise ValueError(f"A clock for {chips} chips tells no time; chips is at least 1.")
        self.chips = chips
        self.events: list[Event] = []
        self._record = record
        self._leaps = leaps and not record
        self._scope: list[tuple[str, int]] = []
        self._independent = independent and chips > 1
        self._simple = chips == 1 and not record
        self._engines: dict[str, Engine] = {}
        self._buffers: list[ref[Buffer]] = []
        self._probes: list[Probe] = []
        self._last_barrier = Time.zero if chips == 1 else Time(np.zeros(chips, np.int64), {})

    def engine(self, name: str) -> Engine:
        """The engine called ``name``; made at its first mention, free since the last barrier."""
        found = self._engines.get(name)
        if found is None:
            found = self._engines[name] = Engine(name, self._last_barrier)
        return found

    def buffer(self, depth: int) -> Buffer:
        """A new buffer of ``depth`` slots, all free."""
        made = Buffer(depth)
        self._buffers.append(ref(made))
        return made

    def task(
        self,
        engine: Engine,
        duration: Duration,
        after: Sequence[Time] = (),
        label: Hashable = None,
        name: str = "",
        of: object = None,
    ) -> Time:
        """Run a task on ``engine`` as soon as it is free and all of ``after`` have passed; returns when it finishes.

        ``duration``: picoseconds, an int or an int64 array (chips,); or a mapping from labels to such, if the time
        of one task belongs to several labels. ``name`` and ``of``: what its events are called and stand for.
        """
        start = engine.free
        if self._simple and type(duration) is int and duration >= 0:
            # The hot path of the simulator: what follows below, without its generality.
            for time in after:
                if time.ps > start.ps:
                    start = time
            path = start.path.copy()
            path[label] = path.get(label, 0) + duration
            engine.free = finish = Time(start.ps + duration, path)
            return finish
        start = self.join(start, *after)
        engine.free = finish = spend(start, duration, label, self.chips)
        self._note(engine.name, start, duration, label, name, of)
        return finish

    def join(self, *times: Time) -> Time:
        """The latest of ``times``, chip by chip; the first wins a tie."""
        return self._watched(latest(times), times)

    def across(self, time: Time, group: int | None = None) -> Time:
        """The latest over all chips, for every chip: where a collective's members have all arrived.

        With ``group``, the same for every ``group`` chips in a row: clusters side by side.
        """
        if self._independent:
            raise RuntimeError("The chips of this clock are independent: none knows when another one arrives.")
        return self._watched(latest_across(time, group), (time,))

    def barrier(
        self, duration: Duration = 0, label: Hashable = None, name: str = "", after: Sequence[Time] = ()
    ) -> Time:
        """Every engine waits for the slowest and for ``after``, then ``duration`` passes on all of them."""
        start = self.join(self.now, *after)
        finish = self._last_barrier = spend(start, duration, label, self.chips)
        for engine in self._engines.values():
            engine.free = finish
        self._note("barrier", start, duration, label, name)
        return finish

    @property
    def now(self) -> Time:
        """When the last engine falls free."""
        return self.join(self._last_barrier, *(engine.free for engine in self._engines.values()))

    def loop(
        self,
        count: int | IntArray,
        body: Body,
        carried: tuple[Time, ...] = (),
        name: str = "",
        leaps: bool = True,
    ) -> tuple[Time, ...]:
        """Run ``body`` ``count`` times, each on the times that the one before returned; returns the last ones.

        ``count`` may be an int64 array (chips,): on a chip whose iterations are done, the others leave no trace.

        The result is that of running it ``count`` times, but periodic stretches cost nothing
        (``chips.clock.periodic_loop``). For that the body must issue the same tasks each time, and whatever passes from
        one iteration to the next must pass through engines, buffers or the carried times, not through variables of the
        caller (RuntimeError where a leap would go wrong for that). With ``record`` every iteration runs, so that the
        trace is whole; the events of a loop with a ``name`` are called after their iteration: ``layer 3/down
        projection``. Without ``leaps`` every iteration runs: for a few short ones, which take less time than to see
        that they are periodic.
        """
        least = int(count.min()) if isinstance(count, np.ndarray) else count
        if least < 0:
            raise ValueError(f"A loop cannot run {least} times; the count is at least 0.")
        if isinstance(count, np.ndarray) and count.shape != (self.chips,):
            raise ValueError(f"Counts of shape {count.shape} do not fit a clock for {self.chips} chips.")
        if self._independent and self._leaps and leaps:
            return run_lanes(self, np.broadcast_to(np.int64(count), self.chips), body, carried)
        if isinstance(count, np.ndarray):
            return self._uneven_loop(count, body, carried, leaps)
        if self._leaps and leaps:
            return run(self, count, body, carried)
        for number in range(count):
            if name:
                self._scope.append((f"{name} {number}/", number))
            carried = body(carried)
            if name:
                self._scope.pop()
        return carried

    def _uneven_loop(self, counts: IntArray, body: Body, carried: tuple[Time, ...], leaps: bool) -> tuple[Time, ...]:
        if self._record:
            raise ValueError("A trace shows one program: the chips of a recorded clock loop equally often.")

        def evenly(count: int, body: Body, carried: tuple[Time, ...]) -> tuple[Time, ...]:
            return self.loop(count, body, carried, leaps=leaps)

        return run_uneven(self, counts, body, carried, evenly)

    def state(self, carried: tuple[Time, ...]) -> State:
        """All that the tasks so far leave to those to come, with ``carried``; for ``chips.clock.periodic_loop``."""
        self._buffers = [buffer for buffer in self._buffers if buffer() is not None]
        times = [engine.free for engine in self._engines.values()]
        shape = [len(times)]
        times.append(self._last_barrier)
        for buffer in self._live_buffers():
            shape.append(len(buffer.slots))
            times.extend(buffer.slots)
        return State((*shape, len(carried)), [*times, *carried])

    def move_to(self, state: State) -> tuple[Time, ...]:
        """Take over a state of this clock's own shape; returns its carried times."""
        times = iter(state.times)
        for engine in self._engines.values():
            engine.free = next(times)
        self._last_barrier = next(times)
        for buffer in self._live_buffers():
            buffer.slots = deque(next(times) for _ in buffer.slots)
        return tuple(times)

    @contextmanager
    def probing(self, probe: Probe) -> Iterator[None]:
        """Show ``probe`` every maximum that is taken in this context."""
        self._probes.append(probe)
        simple, self._simple = self._simple, False
        try:
            yield
        finally:
            self._simple = simple
            self._probes.pop()

    def _live_buffers(self) -> list[Buffer]:
        return [buffer for reference in self._buffers if (buffer := reference()) is not None]

    def _watched(self, winner: Time, times: Sequence[Time]) -> Time:
        for probe in self._probes:
            probe.watch(winner, times)
        return winner

    def _note(
        self, engine: str, start: Time, duration: Duration, label: Hashable, name: str, of: object = None
    ) -> None:
        """Record a task, one event for each label in which it spends time."""
        if self._record:
            begin, iterations = start.ps, tuple([number for _, number in self._scope])
            called = "".join([called for called, _ in self._scope]) + name
            for part, spent in steps(duration, label, self.chips):
                if np.any(spent):
                    self.events.append(Event(engine, called, part, begin, begin + spent, of, iterations))
                begin = begin + spent
